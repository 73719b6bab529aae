"""An interrupted evaluation goes on with the suites that are left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.evaluation.suites.lm import LanguageSuite
from autoprune.evaluation.suites.reasoning import ReasoningSuite
from autoprune.models.loading import LoadedModel
from flows.evaluate import evaluate
from flows.evaluate.params import EvaluateParams
from tests.support.tiny_subject import save_subject, tiny_subject


def watch(patch: pytest.MonkeyPatch, begun: Callable[[str, LoadedModel], None]) -> None:
    """Call ``begun`` with its name and the model before a suite runs."""
    for kind in (LanguageSuite, ReasoningSuite):

        def run(suite: Any, loaded: LoadedModel, *, real: Any = kind.run, **named: Any) -> Any:
            begun(suite.name, loaded)
            return real(suite, loaded, **named)

        patch.setattr(kind, "run", run)


def test_finished_suites_are_not_measured_again(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = EvaluateParams(
        model=str(tiny_folder), corpus=str(text_file), measured_windows=3, seqlen=32,
        suite="lm,reasoning:items=2,generators=digits",
    )  # fmt: skip
    measured: list[str] = []
    interrupt = True

    def begun(name: str, _: LoadedModel) -> None:
        measured.append(name)
        if name == "reasoning" and interrupt:
            raise KeyboardInterrupt

    watch(monkeypatch, begun)
    with pytest.raises(KeyboardInterrupt):
        evaluate.fn(params)
    interrupt = False
    record = evaluate.fn(params)
    assert measured == ["lm", "reasoning", "reasoning"]
    assert {row["suite"] for row in record["rows"]} == {"lm", "reasoning"}
    assert not list(home.glob("evaluations/*/parts"))
    # A complete one is measured anew when it is asked for again.
    again = evaluate.fn(params)
    assert measured[3:] == ["lm", "reasoning"]
    assert again["perplexity"] == record["perplexity"]


def test_a_failure_of_the_other_model_costs_only_the_suite_that_failed(
    tiny_folder: Path, rows: Path, home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = str(save_subject(tiny_subject(seed=1), tmp_path / "other"))
    params = EvaluateParams(
        model=str(tiny_folder), against=other, corpus=str(rows), measured_windows=3, seqlen=32,
        suite="lm,reasoning:items=2,generators=digits", part="sealed", text_split="fresh",
    )  # fmt: skip
    measured: list[tuple[bool, str]] = []
    broken = True

    def begun(name: str, loaded: LoadedModel) -> None:
        is_other = loaded.source.ref == other
        measured.append((is_other, name))
        if is_other and name == "reasoning" and broken:
            raise RuntimeError("out of memory")

    watch(monkeypatch, begun)
    record = evaluate.fn(params)
    assert "out of memory" in record["refusal"] and len(record["rows"]) == 4
    assert {entry["suite"] for entry in record["comparison"]} == {"lm"}
    broken = False
    done = len(measured)
    record = evaluate.fn(params)
    assert measured[done:] == [(True, "reasoning")]
    assert {entry["suite"] for entry in record["comparison"]} == {"lm", "reasoning"}
    assert not record["refusal"] and not list(home.glob("evaluations/*/parts"))
