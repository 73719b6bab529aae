"""Benchmarks, each by one command: ``python -m benchmarks NAME``."""
