"""Lists of runs, candidates, models and other names."""
