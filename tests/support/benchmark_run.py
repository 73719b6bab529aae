"""A benchmark run in this process, as its command runs it."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> Any:
    """The record of a benchmark."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    module.main()
    return json.loads((out / f"{module.__name__.rpartition('.')[2]}.json").read_text())
