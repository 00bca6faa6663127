"""The console script `dcal`: a model of one's own on pictures of one's own (ours)."""
