"""The opt-in pipeline that trains a grid of arms and seeds (ours)."""
