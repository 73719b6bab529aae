"""What ``autoprune up`` starts: Prefect server, MLflow server, worker, and what they need."""
