"""A cell of a comparison whose method skips experts while the model runs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from autoprune.comparison.cells import CellStore
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Cell, Target
from flows.compare.params import CompareParams
from tasks import compare_cells
from tasks.compare_bench import CompareBench
from tasks.compare_cells import cell_key, found_or_measured
from tasks.state import State
from tasks.workbench import opened
from tests.support.tiny_subject import save_subject, tiny_place, tiny_subject
from tests.support.upcycled import upcycled


def test_what_was_skipped_while_it_was_measured_stands_in_the_cell(tmp_path: Path) -> None:
    _, text = tiny_place(tmp_path)
    subject = tiny_subject()
    mixture = replace(subject, model=upcycled(subject.model, 4, noise=0.5))
    folder = save_subject(mixture, tmp_path / "mixture")
    bench = CompareBench(
        str(folder), State.open(tmp_path / "state"), corpus=str(text), samples=4, seqlen=32,
        counts={"selection": 2, "sealed": 2},
    )  # fmt: skip
    with opened(bench):
        skip = Cell(parse_method("skip"), Target(0.25))
        record, known = found_or_measured(bench, skip)
        # Two blocks, two experts of a token, two windows of each part.
        found = re.match(r"([0-9.]+)% of 512 expert computations skipped", record["notes"][0])
        assert not known and found is not None and 5.0 < float(found[1]) < 45.0
        dense, _ = found_or_measured(bench, Cell(None, None))
        losses = [cell["sealed"]["nll"] for cell in (dense, record)]
        assert losses[0] != losses[1] and record["bytes"] == dense["bytes"]
        # Nothing of it stays behind.
        bench.cells = CellStore(tmp_path / "others")
        assert found_or_measured(bench, Cell(None, None))[0]["sealed"]["nll"] == losses[0]


def test_a_budget_in_speed_is_timed_alone_and_kept_for_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=r"faster 1.2,1.5 is timed .* workers of dask"):
        CompareParams.model_validate({"faster": [1.2, 1.5], "runner": "dask"})
    folder, text = tiny_place(tmp_path)
    counts = {"selection": 2, "sealed": 2}
    bench = CompareBench(
        str(folder), State.open(tmp_path / "state"), corpus=str(text), samples=4, seqlen=32,
        counts=counts,
    )  # fmt: skip
    depth = parse_method("depth:criterion=magnitude,patch=none")
    targets = (Target(1.3, "faster"), Target(0.2, "bytes"), Target(0.25))

    def keys() -> list[str]:
        return [json.dumps(cell_key(bench, Cell(depth, target))) for target in targets]

    with opened(bench):
        here = keys()
        monkeypatch.setattr(compare_cells, "hardware", lambda: {"processor": "z", "threads": 64})
        there = keys()
    assert [a == b for a, b in zip(here, there, strict=True)] == [False, True, True]
    # Cells that were kept before stay valid.
    assert ["machine" in key for key in here] == [True, False, False]
