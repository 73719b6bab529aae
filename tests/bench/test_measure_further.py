"""Windows that a recipe was measured on already are left out, and the pieces make the whole."""

import pytest

from autoprune import Bench


def test_two_pieces_are_what_one_measurement_gives(bench: Bench) -> None:
    windows = len(bench.part("selection"))
    assert windows >= 2
    first = bench.measure("wanda", 0.5, slice(1), kl=True)
    rest = bench.measure("wanda", 0.5, slice(1, windows), kl=True)
    assert len(rest.nll) == len(rest.kl) == windows - 1
    joined, whole = first.followed_by(rest), bench.measure("wanda", 0.5, kl=True)
    assert joined.nll == pytest.approx(whole.nll, rel=1e-5)
    assert joined.kl == pytest.approx(whole.kl, rel=1e-3, abs=1e-6)
    assert joined.tokens == whole.tokens
    assert joined.perplexity == pytest.approx(whole.perplexity, rel=1e-5)
    assert joined.mask_digest == whole.mask_digest
    assert joined.seconds == first.seconds + rest.seconds
