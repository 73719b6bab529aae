"""Thin Prefect tasks: resolve paths, call the library, log to MLflow, return a record."""
