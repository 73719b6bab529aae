"""The arithmetic behind cached figures: a figure is reused only if it would come out the same."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from autoprune import __version__

# Increase this when a code change alters a figure of a comparison: scores, budgets, masks,
# repairs, statistics, windows or losses. Figures and statistics kept under another number are made
# again. tests/comparison/test_numerics.py fails if that was forgotten. What one scheme alone gives
# has a number of its own, autoprune.schemes.Scheme.VERSION.
NUMERICS = 5
# Packages that compute figures besides our own code.
PACKAGES = ("torch", "transformers")
# Those that a record names besides, whether they are installed or not.
SHOWN = (*PACKAGES, "mlflow", "prefect")
_CPU_INFO = Path("/proc/cpuinfo")


def computed_by() -> dict[str, str]:
    """Versions that determine figures, by name: :data:`NUMERICS` and those of the packages."""
    own = {"autoprune": __version__, "numerics": str(NUMERICS)}
    return own | {name: version(name) for name in PACKAGES}


def package_version(package: str, missing: str = "none") -> str:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return missing


def processor() -> str:
    """Name of this machine's processor."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, str]:
    """Processor, memory, system and versions, as people read them.

    A search records it as its ``machine``; a comparison and a suite record :func:`hardware` there,
    by which they also know whether a figure is of this machine.
    """
    found = {
        "cpu": f"{os.cpu_count()} cores, {platform.machine()}",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": platform.system(),
        "python": platform.python_version(),
        "autoprune": __version__,
    }
    return found | {package: package_version(package, "missing") for package in SHOWN}


def hardware() -> dict[str, Any]:
    """The hardware that timings depend on, and on which roundings do."""
    import torch

    here: dict[str, Any] = {"processor": processor(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        here["accelerator"] = torch.cuda.get_device_name()
    return here
