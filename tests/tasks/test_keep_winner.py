"""A winner is kept only when a second container gives the masks that were measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_subject import tiny_subject

from autoprune.errors import AutopruneError
from autoprune.recipe import Candidate, Recipe
from autoprune.search.spec import SearchSpec
from tasks.measure import pruned
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.winner import keep_winner
from tasks.workbench import opened

pytestmark = pytest.mark.docker

HONEST = "def score(W, stats, params):\n    return W.abs() * stats['x_norm']\n"
# Passes the screen; every process draws other numbers.
CHANCE = "import torch\n\n\ndef score(W, stats, params):\n    return torch.rand_like(W)\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SearchBench]:
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
        "winner", str(folder), State.open(tmp_path / "state"), spec=spec, run_id="winner"
    )
    with opened(made):
        yield made


def measured(bench: SearchBench, source: str) -> tuple[dict[str, object], str]:
    """JSON form of a recipe and the digest of the masks that it gave."""
    candidate = Candidate(kind="python", source=source)
    recipe = Recipe(metric=candidate)
    with pruned(bench, recipe, bench.spec.sparsity) as outcome:
        return recipe.to_json(), outcome.mask_digest


def test_the_same_masks_of_a_second_container_make_a_winner(bench: SearchBench) -> None:
    recipe, masks = measured(bench, HONEST)
    jobs: list[int] = []
    score = bench.sandbox.score
    bench.sandbox.score = lambda *a, **k: jobs.append(1) or score(*a, **k)  # type: ignore
    keep_winner.fn(bench.id, bench.run_id, "C1", recipe, masks, 1.0)
    # Another container was asked; what the measurement left in memory was not enough.
    assert jobs
    record = json.loads((RunFiles.of(bench.state, "winner").winner / "autoprune.json").read_text())
    assert record["mask_digest"] == masks
    assert record["scored_again_in"] == bench.sandbox.image.tag


def test_other_masks_are_refused_and_nothing_is_saved(bench: SearchBench) -> None:
    recipe, masks = measured(bench, CHANCE)
    with pytest.raises(AutopruneError, match="not deterministic"):
        keep_winner.fn(bench.id, bench.run_id, "C1", recipe, masks, 1.0)
    assert not RunFiles.of(bench.state, "winner").winner.exists()
