"""Suites on a bench: what an interrupted evaluation has measured is not measured again."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune import Bench
from autoprune.bench.suites import Hygiene, check_suites, measure_suite
from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.suites import build_suite, reasoning, suite_requests
from autoprune.evaluation.suites.lm import LanguageSuite
from autoprune.evaluation.suites.rows import PASSING, rows_json
from autoprune.progress import silent
from tests.support.tiny_subject import tiny_subject


class Memory:
    """Parts of an evaluation, and its looks."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {}
        self.looks: list[str] = []

    def read(self, what: list[Any]) -> dict[str, Any] | None:
        return self.parts.get(digest_json(what))

    def write(self, what: list[Any], part: dict[str, Any]) -> None:
        self.parts[digest_json(what)] = part

    def note(self, text: str, whole: str, splits: Any = None) -> None:
        self.looks.append(text)

    def to_json(self) -> dict[str, Any]:
        return {"looks": dict.fromkeys(self.looks, 1)}


def measured(place: Path, memory: Memory, suite: str, **hygiene: Any) -> dict[str, Any]:
    """The suite on a bench of its own, as each evaluation opens one."""
    (request,) = suite_requests(suite, {})
    with Bench.open(place) as bench:
        asked = request["name"], request["settings"], Hygiene(**hygiene)
        return measure_suite(bench, *asked, memory, memory)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each run of the suite lm."""
    found: list[str] = []
    real = LanguageSuite.run

    def run(suite: Any, *given: Any, **named: Any) -> Any:
        found.append(suite.name)
        return real(suite, *given, **named)

    monkeypatch.setattr(LanguageSuite, "run", run)
    return found


@pytest.mark.parametrize("changed", ["nothing", "the dense model", "the template", "what is seen"])
def test_a_kept_suite_is_measured_again_only_if_its_figures_would_differ(
    changed: str, place: tuple[Path, Path], tmp_path: Path, runs: list[str]
) -> None:
    tiny, text = place
    model, dense = (Path(shutil.copytree(tiny, tmp_path / name)) for name in "md")
    suite = f"lm:corpora={text},part=sealed,windows=2,seqlen=16,dense={dense}"
    memory, hygiene = Memory(), dict[str, Any]()
    first = measured(model, memory, suite)
    assert first["looks"] and len(memory.looks) == 1
    if changed == "the template":
        (model / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    elif changed == "the dense model":
        tiny_subject(seed=1).model.save_pretrained(dense)
    elif changed == "what is seen":
        (tmp_path / "seen.txt").write_text("words of another text " * 20)
        hygiene = {"references": [str(tmp_path / "seen.txt")]}
    again = measured(model, memory, suite, **hygiene)
    assert runs == ["lm"] * (1 if changed == "nothing" else 2)
    assert (again == first) is (changed == "nothing")


def test_replies_that_were_drawn_are_not_drawn_again(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = "reasoning:items=2,generators=digits+addition,new_tokens=3"
    whole = measured(place[0], Memory(), suite)["rows"]
    drawn: list[int] = []
    draw = reasoning.greedy_replies

    def drawing(*given: Any, **named: Any) -> list[str]:
        if len(drawn) == 1:
            drawn.append(0)
            raise KeyboardInterrupt
        found = draw(*given, **named)
        drawn.append(len(found))
        return found

    monkeypatch.setattr(reasoning, "greedy_replies", drawing)
    memory = Memory()
    with pytest.raises(KeyboardInterrupt):
        measured(place[0], memory, suite)
    again = measured(place[0], memory, suite)["rows"]
    assert drawn == [2, 0, 2]
    figures = [
        [(row["name"], row["metric"], row["items"]) for row in rows] for rows in (whole, again)
    ]
    assert figures[0] == figures[1] and len(figures[0]) == 3


def test_what_may_pass_is_not_kept(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, suite = Memory(), f"lm:corpora={place[1]},windows=2,seqlen=16"
    kept = rows_json(build_suite(suite).run(tiny_subject(), report=silent))
    kept[0]["details"][PASSING] = True
    monkeypatch.setattr("autoprune.bench.suites.rows_json", lambda _: kept)
    assert measured(place[0], memory, suite)["rows"] == kept and not memory.parts


def test_a_suite_refuses_before_the_first_one_measures(
    place: tuple[Path, Path], runs: list[str]
) -> None:
    asked = f"lm:corpora={place[1]},windows=2,seqlen=16,reasoning:items=500,generators=digits"
    with Bench.open(place[0]) as bench, pytest.raises(UsageError, match="made"):
        check_suites(bench, suite_requests(asked, {}), Hygiene())
    assert not runs
