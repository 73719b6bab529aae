"""``search --judge on --judge-verifier``: what it names, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from flows.search.params import SearchParams


def params(**changes: Any) -> SearchParams:
    return SearchParams(**{"judge": "on", "judge_verifier": "surprisal", **changes})


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """The record of a trained verifier, which is all that names it."""
    folder = tmp_path / "verifier"
    folder.mkdir()
    (folder / "verifier.json").write_text(json.dumps({"kind": "uhead", "weights": "a"}))
    return folder


def test_a_verifier_is_named_by_what_it_is_and_not_by_where_it_lies(
    head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = params(judge_verifier="verifier")
    assert first.judge_verifier == str(head)
    assert str(first.spec().judge_verifier).startswith("uhead:")
    assert "--judge-verifier verifier" in first.command()
    assert str(tmp_path) not in first.command()
    elsewhere = shutil.copytree(head, tmp_path / "elsewhere")
    second = params(judge_verifier=str(elsewhere))
    assert second.run_id() == first.run_id() != params().run_id()
    (elsewhere / "verifier.json").write_text(json.dumps({"kind": "uhead", "weights": "b"}))
    assert second.run_id() != first.run_id()


@pytest.mark.parametrize(
    ("named", "part"),
    [
        ("uhead", "is trained first"),
        ("no/such", "does not exist; name one that"),
        ("surprisel", "did you mean surprisal"),
    ],
)
def test_a_verifier_that_is_none_is_refused_before_anything_is_made(named: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        params(judge_verifier=named).check()
