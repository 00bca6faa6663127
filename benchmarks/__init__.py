"""What is measured, against what: each module says how to run it."""
