"""What a search's probe in the container hands to designed code."""

from pathlib import Path

import pytest

from autoprune.progress import silent
from autoprune.search.spec import SearchSpec
from sandbox.outcomes import Accepted, Rejected
from tasks.search_bench import SearchBench
from tasks.state import State


@pytest.mark.docker
def test_the_probe_of_a_search_offers_what_its_layers_carry(home: Path) -> None:
    spec = SearchSpec(model="m", corpus="c")
    bench = SearchBench("m", State.open(home), 0, silent, spec=spec, run_id="probe")
    code = 'def score(W, stats, params):\n    return W.abs() * stats["hessian_diag"]\n'
    try:
        assert bench.sandbox is not None
        refused = bench.sandbox.probe(code)
        assert isinstance(refused, Rejected)
        assert "no 'hessian_diag'; it has x_max, x_mean, x_norm, x_var" in refused.detail
        assert isinstance(bench.sandbox.probe(code.replace("hessian_diag", "x_var")), Accepted)
    finally:
        bench.close()
