"""A bench of the library over a tiny model: no orchestrator, no container."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune import Bench
from tests.support.tiny_subject import tiny_place


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A model's folder and a text of forty documents."""
    return tiny_place(tmp_path)


@pytest.fixture
def bench(place: tuple[Path, Path]) -> Iterator[Bench]:
    model, corpus = place
    sizes = {"calibration_windows": 2, "selection_windows": 3, "sealed_windows": 2}
    with Bench.open(model, corpus=corpus, seqlen=32, **sizes) as made:
        yield made
