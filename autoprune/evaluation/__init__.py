"""Measuring models: perplexity, KL to dense, tasks, hygiene of the data, size and speed."""
