"""A recipe that cannot be measured on the sealed text is left out, with the reason."""

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.steps import Measurement, Seal, Sealed, outcome_from_json, outcome_to_json
from tasks import steps
from tasks.search_bench import SearchBench

WANDA = Recipe(Candidate("builtin", "wanda"))
# Where the sandbox is off, code is rejected as by a container's timeout.
REJECTED = Recipe(Candidate("python", "def score(W, stats, params):\n    return W.abs()\n"))
SENSELESS = Recipe(Candidate("builtin", "wanda"), solver="no-such-repair")


def test_others_keep_their_sealed_figures(bench: SearchBench) -> None:
    recipes = (("C1", REJECTED), ("C2", SENSELESS), ("wanda", WANDA))
    found = steps.do(bench, Seal("sealed", recipes, 2, 0.6))
    assert isinstance(found, Sealed)
    assert found.measurements.keys() == {"wanda"}
    assert len(found.measurements["wanda"].nll) == 2
    assert {alias: failed.code for alias, failed in found.failures.items()} == {
        "C1": "no_sandbox",
        "C2": "invalid",
    }
    assert "sandbox" in found.failures["C1"].detail
    assert "no-such-repair" in found.failures["C2"].detail


def test_a_fault_of_the_machine_still_ends_the_seal(
    bench: SearchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bench, "evaluate", broken)
    with pytest.raises(OSError, match="disk full"):
        steps.do(bench, Seal("sealed", (("wanda", WANDA),), 2, 0.6))


def test_earlier_logs_have_no_failures() -> None:
    body = outcome_to_json(Sealed({"wanda": Measurement((1.0,), 3, 2.7)}, 1.5))
    del body["failures"]
    assert outcome_from_json(body) == Sealed({"wanda": Measurement((1.0,), 3, 2.7)}, 1.5)
