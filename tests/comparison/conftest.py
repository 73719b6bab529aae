"""Comparisons over a tiny model, by the library alone."""

from pathlib import Path

import pytest

from tests.support.bench_comparison import Comparisons


@pytest.fixture
def compared(tiny_folder: Path, text_file: Path, tmp_path: Path) -> Comparisons:
    """Small comparisons of the tiny model, which keep their cells in a folder of the test."""
    return Comparisons(tiny_folder, text_file, tmp_path / "kept")
