"""Measuring models: perplexity, KL to dense, tasks, size and speed."""
