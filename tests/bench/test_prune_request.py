"""What the scores of a request come from, if it leaves that open."""

from pathlib import Path

import pytest

from autoprune.bench.prune_request import PruneRequest

PROGRAM = "def prune_layer(W, stats, budget, params):\n    return W\n"


@pytest.mark.parametrize(
    ("metric", "changes", "scoring", "reads_text"),
    [
        ("wanda", {}, "sequential", True),
        ("wanda", {"statistics": "dense"}, "dense", True),
        ("wanda", {"statistics": "true-sequential"}, "true-sequential", True),
        # All weights are compared at once, so all scores are there before the first zero.
        ("wanda", {"group": "global"}, "dense", True),
        # The order of the blocks changes nothing without text...
        ("magnitude", {}, "dense", False),
        # ... but a repair, a comparison of allocations and the user's own wish bring some.
        ("magnitude", {"repair": "mrp"}, "sequential", True),
        ("magnitude", {"allocation": "auto"}, "sequential", True),
        ("magnitude", {"statistics": "sequential"}, "sequential", True),
        ("magnitude", {"streams": True}, "sequential", True),
        ("wanda", {"streams": True, "group": "global"}, "sequential", True),
        # Scored once in the container, in which a program gets block after block.
        ("{}/metric.py", {}, "dense", True),
        ("program:{}/program.py", {}, "sequential", True),
    ],
)
def test_what_the_scores_come_from_is_in_the_plan(
    tmp_path: Path, metric: str, changes: dict[str, object], scoring: str, reads_text: bool
) -> None:
    (tmp_path / "metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    asked = {
        "group": "auto", "sparsity": 0.5, "pattern": "unstructured", "allocation": "uniform",
        "repair": "none", "statistics": "auto",
    }  # fmt: skip
    request = PruneRequest.build(metric.format(tmp_path), **(asked | changes))
    assert (request.plan.scoring, request.reads_text) == (scoring, reads_text)
