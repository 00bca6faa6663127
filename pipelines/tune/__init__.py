"""Stage tune: a study whose trials train, its last round, and what is handed on (ours)."""
