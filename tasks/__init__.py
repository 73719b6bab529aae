"""Work on one installation: task runs in Prefect, records in MLflow, the state folder, the ledger.

Flows compose these modules; the library does the maths. :func:`tasks.recorded.recorded` makes a
task run of a call; MLflow's client is imported in :mod:`tasks.track` alone.
"""
