"""A bench of the library over a tiny model: no orchestrator, no container."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune import Bench
from tests.support.tiny_subject import tiny_subject


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A model's folder and a text of forty documents."""
    folder, text = tmp_path / "tiny", tmp_path / "text.txt"
    subject = tiny_subject()
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    text.write_text("\n\n".join(f"{n} some words " * 30 for n in range(40)), encoding="utf-8")
    return folder, text


@pytest.fixture
def bench(place: tuple[Path, Path]) -> Iterator[Bench]:
    model, corpus = place
    sizes = {"windows": 2, "selection": 3, "sealed": 2}
    with Bench.open(model, corpus=corpus, seqlen=32, **sizes) as made:
        yield made
