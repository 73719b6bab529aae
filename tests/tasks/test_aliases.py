"""Aliases move all or none, whether a move is killed or two begin at once."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from autoprune.comparison.gate import GateVerdict
from autoprune.errors import AutopruneError
from tasks import promotion, track
from tasks.state import State
from tasks.track import Tracker, aliases
from tasks.track.aliases import aliases_of, move_champion

NAME = "autoprune.tiny.s60"
BETTER = GateVerdict(True, "better", ())
WORSE = GateVerdict(False, "worse", ())


@pytest.fixture
def killed(
    versions: list[str], tracker: Tracker, state: State, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A promotion killed after the champion moved; gives the aliases before it."""
    before = aliases_of(tracker, NAME)

    def kill(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(track, "Tracker", lambda _: tracker)
        patch.setattr(tracker.client, "delete_registered_model_alias", kill)
        patch.setattr(aliases, "_undo", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            promotion.settle(state, NAME, versions[2], versions[0], BETTER, {})
    assert aliases_of(tracker, NAME) == before | {"champion": versions[2], "previous": versions[0]}
    return before


def test_a_promotion_that_was_killed_is_undone_by_the_next_one(
    killed: dict[str, str], versions: list[str], tracker: Tracker, state: State
) -> None:
    found = promotion.find_contenders(state, NAME, None, dry_run=True)
    assert aliases_of(tracker, NAME) == killed and found.note == ""
    assert found.challenger.version == versions[2]
    assert aliases.MOVE not in tracker.client.get_registered_model(NAME).tags
    assert "autoprune.decision" not in tracker.client.get_model_version(NAME, versions[2]).tags
    assert promotion.settle(state, NAME, versions[2], versions[0], BETTER, {})
    assert aliases_of(tracker, NAME) == {"champion": versions[2], "previous": versions[0]}
    assert aliases.MOVE not in tracker.client.get_registered_model(NAME).tags


def test_another_folder_gives_a_promotion_time_before_it_undoes_it(
    killed: dict[str, str], tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = aliases_of(tracker, NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.tracking_uri)
    other = Tracker(State.open(tmp_path / "other"))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        assert aliases_of(tracker, NAME) == now
        waited.append(seconds)

    monkeypatch.setattr(aliases.time, "sleep", sleep)
    with aliases.registry_lock(other, NAME):
        assert sum(waited) >= aliases.LOCK_SECONDS
        assert aliases_of(tracker, NAME) == killed


def test_what_was_set_by_hand_after_a_kill_stays(
    killed: dict[str, str], versions: list[str], tracker: Tracker
) -> None:
    tracker.client.set_registered_model_alias(NAME, "champion", versions[1])
    with aliases.registry_lock(tracker, NAME):
        assert aliases_of(tracker, NAME) == killed | {"champion": versions[1]}
    assert aliases.moved_by_hand(tracker, NAME) == (versions[0], versions[1])


def test_two_promotions_that_begin_at_once_do_not_both_go_on(
    versions: list[str], tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = aliases_of(tracker, NAME)
    real = tracker.client.set_registered_model_tag

    def overwritten(name: str, key: str, value: str) -> None:
        real(name, key, value)
        if key == aliases.MOVE:
            real(name, key, value.replace('"by": "', '"by": "other'))

    monkeypatch.setattr(tracker.client, "set_registered_model_tag", overwritten)
    with pytest.raises(AutopruneError, match="began at the same time; nothing was moved"):
        move_champion(tracker, NAME, versions[1], versions[0], {})
    assert aliases_of(tracker, NAME) == before


def test_a_version_that_was_deleted_since_the_kill_stops_nothing(
    killed: dict[str, str], versions: list[str], tracker: Tracker, state: State
) -> None:
    tracker.client.delete_model_version(NAME, killed["champion"])
    with aliases.registry_lock(tracker, NAME):
        assert aliases_of(tracker, NAME) == {"challenger": versions[2]}
    assert aliases.MOVE not in tracker.client.get_registered_model(NAME).tags
    assert promotion.settle(state, NAME, versions[2], None, BETTER, {})


@pytest.mark.parametrize("text", ["{", '{"of": "another version"}'])
def test_a_record_of_a_move_that_cannot_be_read_is_removed(
    versions: list[str], tracker: Tracker, state: State, text: str
) -> None:
    tracker.client.set_registered_model_tag(NAME, aliases.MOVE, text)
    assert promotion.settle(state, NAME, versions[1], versions[0], BETTER, {})
    assert aliases_of(tracker, NAME)["champion"] == versions[1]


@pytest.mark.parametrize("fails", ["delete_registered_model_tag", "nothing"])
def test_a_promotion_that_is_complete_is_never_undone(
    versions: list[str],
    tracker: Tracker,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    def full(*_args: object) -> None:
        raise MlflowException("disk full")

    def kill(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(track, "Tracker", lambda _: tracker)
        if fails == "nothing":
            patch.setattr(aliases, "_forget", kill)
            ended: Any = pytest.raises(KeyboardInterrupt)
        else:
            patch.setattr(tracker.client, fails, full)
            ended = nullcontext()
        with ended:
            promotion.settle(state, NAME, versions[2], versions[0], BETTER, {})
    assert aliases.MOVE in tracker.client.get_registered_model(NAME).tags
    with aliases.registry_lock(tracker, NAME):
        assert aliases_of(tracker, NAME)["champion"] == versions[2]
    tags = tracker.client.get_model_version(NAME, versions[2]).tags
    assert tags["autoprune.decision"] == "promoted"
    assert aliases.MOVE not in tracker.client.get_registered_model(NAME).tags


def test_a_kill_after_the_reason_was_written_leaves_none(
    versions: list[str], tracker: Tracker, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tracker.client.set_model_version_tag

    def tag(name: str, number: str, key: str, value: str) -> None:
        if key == aliases.MOVE:
            raise KeyboardInterrupt
        real(name, number, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(track, "Tracker", lambda _: tracker)
        patch.setattr(tracker.client, "set_model_version_tag", tag)
        patch.setattr(aliases, "_undo", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            promotion.settle(state, NAME, versions[2], versions[0], BETTER, {})
    decided = "autoprune.decision"
    assert tracker.client.get_model_version(NAME, versions[2]).tags[decided] == "promoted"
    with aliases.registry_lock(tracker, NAME):
        assert aliases_of(tracker, NAME)["champion"] == versions[0]
    assert decided not in tracker.client.get_model_version(NAME, versions[2]).tags


def test_a_move_of_another_folder_in_between_wins_alone(
    versions: list[str], tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = versions
    real = aliases._recorded

    def late(store: Tracker, name: str, move: aliases.Move) -> Any:
        # It began and ended after this one had read the aliases.
        monkeypatch.setattr(aliases, "_recorded", real)
        move_champion(tracker, NAME, third, first, {})
        return real(store, name, move)

    monkeypatch.setattr(aliases, "_recorded", late)
    with pytest.raises(AutopruneError, match="began at the same time"):
        move_champion(tracker, NAME, second, first, {})
    assert aliases_of(tracker, NAME) == {"champion": third, "previous": first}
    assert aliases.MOVE not in tracker.client.get_registered_model(NAME).tags


@pytest.mark.parametrize("verdict", [BETTER, WORSE])
def test_a_version_that_leads_already_keeps_its_reason(
    versions: list[str], tracker: Tracker, state: State, verdict: GateVerdict
) -> None:
    assert promotion.settle(state, NAME, versions[2], versions[0], BETTER, {})
    before = tracker.client.get_model_version(NAME, versions[2]).tags
    with pytest.raises(AutopruneError, match="changed while it was measured"):
        promotion.settle(state, NAME, versions[2], versions[0], verdict, {})
    assert tracker.client.get_model_version(NAME, versions[2]).tags == before


def test_a_rollback_installs_what_was_agreed_to(
    versions: list[str], tracker: Tracker, state: State
) -> None:
    first, second, third = versions
    assert promotion.settle(state, NAME, second, first, BETTER, {})
    shown = promotion.roll_back(state, NAME, True)
    assert promotion.settle(state, NAME, third, second, BETTER, {})
    before = aliases_of(tracker, NAME)
    with pytest.raises(AutopruneError, match="changed since version 1 was to replace version 2"):
        promotion.roll_back(state, NAME, False, shown)
    assert aliases_of(tracker, NAME) == before
    shown = promotion.roll_back(state, NAME, True)
    assert promotion.roll_back(state, NAME, False, shown)["champion"] == second
