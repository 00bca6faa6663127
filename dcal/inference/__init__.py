"""A trained model at work on pictures: class probabilities, and where it looks."""
