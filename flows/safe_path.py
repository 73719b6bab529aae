"""Keeps files in the current folder out of the processes that we and our libraries start."""

import os


def leave_out_current_folder() -> None:
    """Stop Python child processes from importing from the current folder.

    ``python -c`` and ``python -m`` look there first, so a ``json.py`` in that folder would run.
    Libraries start such children too (Dask's workers, multiprocessing's spawn, MLflow's and
    Prefect's servers), and all inherit the environment.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
