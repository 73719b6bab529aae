"""What a model's matrices look like, and what pruning each one costs."""
