"""Grids of arms and seeds: what is compared with a baseline, and for how long (ours)."""
