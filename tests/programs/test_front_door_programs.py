"""The front door takes a program where somebody runs it, and keeps its source."""

import json
from pathlib import Path

import pytest

import autoprune
from autoprune.candidate import Candidate
from autoprune.errors import UsageError
from autoprune.program_files import program_source
from autoprune.recipe import Recipe
from tests.support.given_runner import GivenRunner
from tests.support.tiny_subject import tiny_place


def test_a_program_prunes_and_its_source_is_kept(tmp_path: Path) -> None:
    model, text = tiny_place(tmp_path)
    sizes = {"corpus": text, "calibration_windows": 4, "seqlen": 32}
    with pytest.raises(UsageError, match="only in the sandbox"):
        autoprune.prune(model, "program:mrp", 0.5, **sizes)  # type: ignore[arg-type]
    digests = []
    for name in ("one", "two"):
        made = autoprune.prune(
            model, "program:mrp+ebft", 0.5, out=tmp_path / name, runner=GivenRunner(),
            **sizes,  # type: ignore[arg-type]
        )  # fmt: skip
        assert made.sparsity == 0.5
        record = json.loads((tmp_path / name / "autoprune.json").read_text())
        assert record["program"]["source"] == program_source("mrp")
        assert record["program"]["seconds"] > 0
        digests.append((record["weights_digest"], record["checkpoint"]["files"]))
    assert digests[0] == digests[1]
    made = autoprune.prune(
        model, Recipe(Candidate.parse("program:ebft")), 0.5, out=tmp_path / "three",
        runner=GivenRunner(),
        **sizes,  # type: ignore[arg-type]
    )  # fmt: skip
    record = json.loads((tmp_path / "three" / "autoprune.json").read_text())
    assert made.sparsity == record["checkpoint"]["sparsity"] == 0.5
    # Whatever the recipe says, a program is sequential.
    assert record["statistics"] == "sequential"
    errors = record["program"]["block_errors"]
    assert len(errors) == 2 and all(0 < error < 1 for error in errors)
