"""A search workbench over a tiny model, for tests of single tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune.search.spec import SearchSpec
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened
from tests.support.tiny_subject import tiny_subject


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SearchBench]:
    """Designs in the sandbox where the test's module asks for it by ``DESIGNS_IN``."""
    folder = tmp_path / "tiny"
    subject = tiny_subject()
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"{n} some words " * 30 for n in range(40)), encoding="utf-8")
    spec = SearchSpec(
        model=str(folder),
        corpus=str(text),
        calibration_windows=2,
        seqlen=32,
        selection_windows=2,
        sealed_windows=2,
        rung_windows=2,
    )
    made = SearchBench(
        str(folder),
        State.open(tmp_path / "state"),
        spec=spec,
        run_id="winner",
        designs_in=getattr(request.module, "DESIGNS_IN", "off"),
    )
    with opened(made):
        yield made
