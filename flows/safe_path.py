"""What keeps files of the current folder out of the processes that we and our libraries start."""

import os


def leave_out_current_folder() -> None:
    """Have no Python child import from the folder a command is typed in.

    ``python -c`` and ``python -m`` look there first, so that a ``json.py`` lying there would run.
    Libraries start such children too (Dask's workers, multiprocessing's spawn, MLflow's and
    Prefect's servers), and all inherit the environment.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
