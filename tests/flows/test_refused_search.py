"""A search that cannot begin leaves no run, no experiment and no offer to resume it."""

from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import PrerequisiteError, UsageError
from autoprune.search.spec import DesignerSpec
from flows.search import search
from flows.search.params import SearchParams
from flows.search.unchanged import require_same_designer
from sandbox.errors import SandboxUnavailableError
from tasks import steps
from tasks.design import DesignerSession
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import Tracker
from tests.support.small_search import small


@pytest.mark.parametrize(
    ("settings", "docker"),
    [
        ({"designer": "random"}, "unix:///nobody/listens/here"),
        ({"designer": "openai", "base_url": "http://127.0.0.1:9/v1", "sandbox": "off"}, ""),
        # Refused once the text is cut, when the run's folder is there.
        ({"designer": "random", "sandbox": "off", "selection_windows": 5000}, ""),
    ],
)
def test_nothing_is_left(
    settings: dict[str, Any], docker: str, tiny_folder: Path, text_file: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if docker:
        monkeypatch.setenv("DOCKER_HOST", docker)
    monkeypatch.setattr("autoprune.design.transports.LONGEST_PAUSE", 0.01)
    params = SearchParams(model=str(tiny_folder), corpus=str(text_file), run="typo", **settings)
    with pytest.raises((PrerequisiteError, SandboxUnavailableError, UsageError)) as caught:
        search.fn(params)
    assert not getattr(caught.value, "__notes__", [])
    assert State.open().run_ids() == []
    names = [found.name for found in Tracker(State.open()).client.search_experiments()]
    assert names == ["Default"]


def test_a_missing_key_is_named_before_anybody_is_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DesignerSession(DesignerSpec(kind="openai"), State.open())
    monkeypatch.setattr(session, "designer", lambda *_: pytest.fail("the endpoint was asked"))
    with pytest.raises(PrerequisiteError, match="OPENAI_API_KEY is not set"):
        # Before the model is looked for.
        SearchParams(model="no/such-model", designer="openai").check()
    with pytest.raises(PrerequisiteError, match="OPENAI_API_KEY is not set"):
        session.check()


def test_a_search_asks_the_designer_that_auto_meant_when_it_began(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(DesignerSession, "check", lambda _: None)
    monkeypatch.setitem(steps.WORK, "measure", stopped)
    params = small(tiny_folder, text_file, designer="auto", run="mine")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises(KeyboardInterrupt):
        search.fn(params)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match=r"designer openai, .* auto means local; set OPENAI_BASE"):
        search.fn(params)
    assert RunFiles.of(State.open(), "mine").read_facts()["designer"] == "openai"
    for known in ({}, {"designer": "local"}, {"designer": "local: qwen"}):
        require_same_designer("mine", known, "local")
