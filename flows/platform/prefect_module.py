"""Runs a module of Prefect without importing anything from the current folder.

Run as ``python3 -P -m flows.platform.prefect_module prefect.engine ...``. ``-P`` alone is not
enough: to load a deployed flow, Prefect puts the current folder first on the import path, and
anyone's ``flows/`` or ``json.py`` there would run with the worker's keys.
"""

import importlib
import runpy
import sys
from typing import Any

from autoprune.lazy import uncollected


def main() -> None:
    """Take the module's name off the command line and run it as the main program."""
    module = sys.argv.pop(1)
    with uncollected():
        from prefect.utilities import importtools

    loading: Any = importtools
    # What `autoprune up` deploys is installed, so the normal import path finds it.
    loading.load_module = uncollected()(importlib.import_module)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
