"""Calibration: text, splits, token windows, input statistics, and the store that keeps them."""
