"""Tests of dcal/data."""
