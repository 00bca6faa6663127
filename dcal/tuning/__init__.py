"""What to try next: search spaces, studies that survive their workers, and true trial states.

The only package that imports optuna.
"""
