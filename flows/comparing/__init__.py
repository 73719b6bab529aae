"""Measures the cells of a comparison, and formats its table for a terminal."""
