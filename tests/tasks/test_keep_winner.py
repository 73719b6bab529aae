"""A winner is kept only when a second container gives the masks that were measured."""

import json

import pytest

from autoprune.candidate import Candidate
from autoprune.errors import AutopruneError
from autoprune.recipe import Recipe
from autoprune.text.seen_text import FILE
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.winner import keep_winner

pytestmark = pytest.mark.docker
# Its bench has a sandbox.
DESIGNS_IN = "docker"

HONEST = "def score(W, stats, params):\n    return W.abs() * stats['x_norm']\n"
# Passes the screen; every process draws other numbers.
CHANCE = "import torch\n\n\ndef score(W, stats, params):\n    return torch.rand_like(W)\n"


def measured(bench: SearchBench, source: str) -> tuple[Recipe, str]:
    """A recipe and the digest of the masks that it gave."""
    candidate = Candidate(kind="python", source=source)
    recipe = Recipe(metric=candidate)
    with bench.pruned(recipe, bench.budget) as outcome:
        return recipe, outcome.mask_digest


def test_the_same_masks_of_a_second_container_make_a_winner(bench: SearchBench) -> None:
    recipe, masks = measured(bench, HONEST)
    jobs: list[int] = []
    assert bench.sandbox is not None
    score = bench.sandbox.score
    bench.sandbox.score = lambda *a, **k: jobs.append(1) or score(*a, **k)  # type: ignore
    keep_winner(bench, "C1", recipe, masks, 1.0)
    # Another container was asked; what the measurement left in memory was not enough.
    assert jobs
    record = json.loads((RunFiles.of(bench.state, "winner").winner / "autoprune.json").read_text())
    assert record["mask_digest"] == masks
    assert record["scored_again_in"] == bench.sandbox.image.tag
    # What is whole is not made again; without the fingerprint of its text, it is not whole.
    seen = RunFiles.of(bench.state, "winner").winner / FILE
    count = len(jobs)
    keep_winner(bench, "C1", recipe, masks, 1.0)
    assert len(jobs) == count
    seen.unlink()
    keep_winner(bench, "C1", recipe, masks, 1.0)
    assert len(jobs) > count and seen.is_file()


def test_other_masks_are_refused_and_nothing_is_saved(bench: SearchBench) -> None:
    recipe, masks = measured(bench, CHANCE)
    with pytest.raises(AutopruneError, match="not deterministic"):
        keep_winner(bench, "C1", recipe, masks, 1.0)
    assert not RunFiles.of(bench.state, "winner").winner.exists()
