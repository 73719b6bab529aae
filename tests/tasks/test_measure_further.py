"""Windows that a recipe was measured on already are left out, and the pieces make the whole."""

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.steps import Measurement, outcome_from_json
from tasks.measure import measure
from tasks.search_bench import SELECTION, SearchBench


def test_two_pieces_are_what_one_measurement_gives(bench: SearchBench) -> None:
    windows = len(bench.part(SELECTION))
    assert windows >= 2
    recipe = Recipe(Candidate("builtin", "wanda")).to_json()

    def measured(name: str, until: int, known: int = 0) -> Measurement:
        found = measure.fn(bench.id, name, recipe, until, 0.5, 0, True, known)
        outcome = outcome_from_json(found)
        assert isinstance(outcome, Measurement)
        return outcome

    first = measured("C1.rung1", 1)
    rest = measured("C1.rung2", windows, 1)
    assert len(rest.nll) == len(rest.kl) == windows - 1
    joined, whole = first.followed_by(rest), measured("again", windows)
    assert joined.nll == pytest.approx(whole.nll, rel=1e-5)
    assert joined.kl == pytest.approx(whole.kl, rel=1e-3, abs=1e-6)
    assert joined.tokens == whole.tokens
    assert joined.perplexity == pytest.approx(whole.perplexity, rel=1e-5)
    assert joined.mask_digest == whole.mask_digest
    assert joined.seconds == first.seconds + rest.seconds
