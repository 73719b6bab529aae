"""A recipe that cannot be measured on the sealed text is left out, with the reason."""

import json

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.steps import Measurement, Seal, Sealed, outcome_from_json, outcome_to_json
from tasks import steps
from tasks.ledger_file import ledger_path
from tasks.prepare import note_look
from tasks.search_bench import SearchBench
from tasks.state import folder_tag

WANDA = Recipe(Candidate("builtin", "wanda"))
# Where the sandbox is off, code is rejected as by a container's timeout.
REJECTED = Recipe(Candidate("python", "def score(W, stats, params):\n    return W.abs()\n"))
SENSELESS = Recipe(Candidate("builtin", "wanda"), repair="no-such-repair")


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


def test_the_reference_gets_its_figure_however_it_is_spelled(bench: SearchBench) -> None:
    # Names of starts hold no spaces; a scheme's own text may.
    bench.spec = bench.spec.model_copy(update={"reference": "wanda + ramp"})
    recipes = (("C1", WANDA), ("magnitude", WANDA), ("wanda+ramp", WANDA))
    found = steps.do(bench, Seal("sealed", recipes, 2, 0.6), 0.0)
    assert isinstance(found, Sealed)
    assert found.measurements.keys() == {"C1", "wanda+ramp"}
    assert found.failures.keys() == {"magnitude"}


def test_a_fault_of_the_machine_still_ends_the_seal(
    bench: SearchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bench, "evaluate", broken)
    with pytest.raises(OSError, match="disk full"):
        steps.do(bench, Seal("sealed", (("wanda", WANDA),), 2, 0.6))


def test_a_run_name_used_again_is_another_look(bench: SearchBench) -> None:
    found = []
    # The first is a search of an earlier version, whose look keeps its name.
    for log_id in ("", "", "1f0e33aa", "1f0e33aa", "77b2c0de"):
        bench.log_id = log_id
        noted = note_look(bench)
        found.append((noted["sealed_looks"], noted["sealed_set"]["earlier"]))
    assert found == [(1, 0), (1, 0), (2, 1), (2, 1), (3, 2)]
    lines = ledger_path().read_text().splitlines()
    runs = [line["run"] for line in map(json.loads, lines[-3:])]
    tag = folder_tag(bench.state)
    names = ("", ", 1f0e33aa", ", 77b2c0de")
    assert runs == [f"search winner, {tag}{name}" for name in names]


def test_earlier_logs_have_no_failures() -> None:
    body = outcome_to_json(Sealed({"wanda": Measurement((1.0,), 3, 2.7)}, 1.5))
    del body["failures"]
    assert outcome_from_json(body) == Sealed({"wanda": Measurement((1.0,), 3, 2.7)}, 1.5)
