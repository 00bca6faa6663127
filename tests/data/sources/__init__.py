"""Tests of dcal/data/sources."""
