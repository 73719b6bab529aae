"""Prefect flows that compose the tasks, and the command line."""

from flows.platform.run_log import shorten_own_errors

# Here, since a worker of Prefect imports nothing but the flow that it runs.
shorten_own_errors()
