"""Scores of a finished prediction: how often it is right, and where the model looked."""
