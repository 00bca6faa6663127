"""A trained model as MLflow loads, registers and serves it (ours)."""
