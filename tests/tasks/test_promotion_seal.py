"""A promotion's text: looks at it are counted, and what a contender has seen is left out."""

import json
import shutil
from pathlib import Path

import pytest

from autoprune.comparison.contenders import JudgedPart
from autoprune.comparison.gate import judge
from tasks.promotion import cut_part, find_split
from tasks.sealed_looks import record_look
from tasks.state import State
from tasks.workbench import Workbench, opened


@pytest.mark.parametrize(("part", "before"), [("sealed", 1), ("selection", 0)])
def test_only_the_sealed_part_is_touched(
    tiny_folder: Path, text_file: Path, tmp_path: Path, part: str, before: int
) -> None:
    from autoprune.text.corpora import load_corpus
    from autoprune.text.splits import split

    state = State.open(tmp_path / "state")
    wanted = JudgedPart(str(text_file), part, 2, 32, 0, [])
    for _ in range(2):
        with opened(Workbench(str(tiny_folder), state)) as bench:
            cut = cut_part(bench, "text", wanted, "gate", "champion")
        assert cut.looks == (before or None)
    text = getattr(split(load_corpus(str(text_file)), seed=0), part).digest
    assert record_look(state, text, "another run") == before + 1


def test_the_split_is_that_of_the_search_that_made_the_challenger(tmp_path: Path) -> None:
    def number_of(record: dict[str, object]) -> int | None:
        (tmp_path / "autoprune.json").write_text(json.dumps(record))
        return find_split(tmp_path)

    assert find_split(tmp_path) is None
    assert number_of({"run": "night", "seed": 3, "text_split": 7}) == 7
    # Earlier versions split the text by the run's seed.
    assert number_of({"run": "night", "seed": 3}) == 3
    # A seed that split nothing: `autoprune prune` made it.
    assert number_of({"seed": 3}) is None


def test_a_gate_says_how_often_its_text_was_looked_at_before(
    tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    from autoprune.text.corpora import load_corpus
    from autoprune.text.splits import split

    state = State.open(tmp_path / "state")
    parts = split(load_corpus(str(text_file)), seed=4)
    for run in ("search a", "search b"):
        record_look(state, parts.sealed.digest, run, parts.whole, splits=parts)
    wanted = JudgedPart(str(text_file), "sealed", 2, 32, 4, [])
    asked = ("text", wanted, "promotion of tiny version 2")
    found = []
    # Champion and challenger are one use of the text: the second does not count the first.
    # An interrupted one that begins again may find its files in another folder.
    for name, role in (("a", "champion"), ("b", "champion"), ("c", "challenger")):
        ref = shutil.copytree(tiny_folder, tmp_path / name)
        with opened(Workbench(str(ref), state)) as bench:
            found.append(cut_part(bench, *asked, role))
    assert [entry.to_json()["sealed_set"]["earlier"] for entry in found] == [2, 2, 2]
    assert [entry.looks for entry in found] == [3, 3, 4]
    figures = {"nll": [1.0, 1.1], "perplexity": 2.8, "bytes": 9}
    counts = {"zeros": 1, "prunable": 2}
    challenger = figures | {
        "recount": counts, "recorded": counts | {"target": 0.5, "pattern": "unstructured"},
        "reload": {"ok": True, "detail": ""}, "sealed_set": found[-1].to_json()["sealed_set"],
    }  # fmt: skip
    verdict = judge(None, challenger, accept_tie=False, larger_by=0.0)
    (line,) = [check for check in verdict.checks if check.name == "text"]
    assert line.ok and line.challenger == "set 4"
    assert line.detail.startswith("sealed set 4, 2 earlier looks; ")
