"""A promotion that measures on sealed text counts as a touch of it, once for each version."""

from pathlib import Path

import pytest

from tasks.promotion import cut_part
from tasks.sealed_touches import touch
from tasks.state import State
from tasks.workbench import Workbench, opened


@pytest.mark.parametrize(("part", "before"), [("sealed", 1), ("selection", 0)])
def test_only_the_sealed_part_is_touched(
    tiny_folder: Path, text_file: Path, tmp_path: Path, part: str, before: int
) -> None:
    from autoprune.calibration.corpora import load_corpus
    from autoprune.calibration.splits import split

    state = State.open(tmp_path / "state")
    for number in range(2):
        with opened(Workbench(f"b{number}", str(tiny_folder), state)):
            cut_part.fn(f"b{number}", "text", str(text_file), part, 2, 32, 0)
    text = getattr(split(load_corpus(str(text_file)), seed=0), part).digest
    assert touch(state, text, "another run") == before + 1
