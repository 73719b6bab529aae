"""The services behind ``autoprune up``: Prefect server, MLflow server, worker, and helpers."""
