"""Versions in the registry: kept once and described; a champion moves whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.comparison.gate import GateVerdict
from autoprune.errors import AutopruneError, UsageError
from autoprune.models.record import RECORD_FILE
from tasks import promotion, track
from tasks.state import State
from tasks.track import Tracker, aliases, register_checkpoint, registry
from tasks.track.aliases import aliases_of, move_champion

NAME = "autoprune.tiny.s60"
BETTER = GateVerdict(True, "better", ())


def test_a_winner_is_kept_once_described_and_a_moved_alias_is_noticed(
    versions: list[str], tracker: Tracker, tiny_folder: Path, state: State
) -> None:
    assert versions == ["1", "2", "3"]
    version = tracker.client.get_model_version(NAME, "1")
    assert version.description == "what it is"
    assert version.tags["autoprune.perplexity.sealed"] == "44.7"
    assert "`tiny` with 60%" in str(tracker.client.get_registered_model(NAME).description)
    served = registry.find_version(tracker, NAME, "1", "champion").folder
    assert (served / "model.safetensors").samefile(tiny_folder / "model.safetensors")
    assert promotion.find_contenders(state, NAME, None).note == ""
    # Somebody moves the alias in MLflow's pages: no gate, no previous.
    tracker.client.set_registered_model_alias(NAME, "champion", "2")
    note = promotion.find_contenders(state, NAME, "1").note
    assert "moved by hand from version 1 to version 2" in note and "--rollback" in note
    assert aliases_of(tracker, NAME)["previous"] == "1"
    # An older champion is no longer the one to go back to, but a dry run writes nothing.
    assert promotion.settle(state, NAME, "3", "2", BETTER, {})
    tracker.client.set_registered_model_alias(NAME, "champion", "1")
    before = aliases_of(tracker, NAME)
    assert before["previous"] == "2"
    promotion.find_contenders(state, NAME, "2", dry_run=True)
    assert aliases_of(tracker, NAME) == before
    promotion.find_contenders(state, NAME, "2")
    assert promotion.roll_back(state, None, False)["champion"] == "3"


def test_a_champion_moved_by_hand_gives_way_to_the_one_that_the_gate_made(
    versions: list[str], tracker: Tracker, state: State
) -> None:
    first, second, third = versions
    assert promotion.settle(state, NAME, third, first, BETTER, {})
    tracker.client.set_registered_model_alias(NAME, "champion", second)
    moved = "moved by hand from version 3 to version 2, past the gate; .* --rollback"
    with pytest.raises(UsageError, match=f"no alias 'challenger'.*{moved}"):
        promotion.find_contenders(state, NAME, None, dry_run=True)
    with pytest.raises(UsageError, match=f"champion already.*{moved}"):
        promotion.find_contenders(state, NAME, second, dry_run=True)
    # Only looked at, `previous` is still the champion before version 3.
    assert aliases_of(tracker, NAME)["previous"] == first
    assert promotion.roll_back(state, NAME, False)["champion"] == third
    # The version set by hand is not what another rollback installs.
    assert aliases_of(tracker, NAME)["previous"] == first
    # A version that was deleted is nothing to go back to, and stops no promotion.
    tracker.client.set_registered_model_alias(NAME, "champion", second)
    tracker.client.delete_model_version(NAME, third)
    note = promotion.find_contenders(state, NAME, first).note
    assert note.endswith("version 3 has been deleted") and "--rollback" not in note
    assert promotion.roll_back(state, NAME, True)["champion"] == first


def test_a_rollback_twice_never_installs_a_version_set_by_hand(
    versions: list[str], tracker: Tracker, state: State
) -> None:
    first, second, _ = versions
    tracker.client.set_registered_model_alias(NAME, "champion", second)
    promotion.find_contenders(state, NAME, "3")
    assert aliases_of(tracker, NAME)["previous"] == first
    assert promotion.roll_back(state, NAME, False)["champion"] == first
    assert "previous" not in aliases_of(tracker, NAME)
    with pytest.raises(UsageError, match="no previous champion"):
        promotion.roll_back(state, NAME, False)


def test_models_beyond_the_first_page_are_found(tracker: Tracker) -> None:
    names = [f"autoprune.m{number:03}.s60" for number in range(101)]
    for name in names:
        tracker.client.create_registered_model(name)
    assert [model.name for model in registry.our_models(tracker)] == names
    assert registry.choose_model(tracker, names[-1]) == names[-1]


def test_versions_whose_records_differ_are_no_rivals(
    tracker: Tracker, tiny_folder: Path, state: State, tmp_path: Path
) -> None:
    parent = tracker.parent("tiny", "one", {"model": "tiny"}, {})
    for masks in ("unstructured", "2:4"):
        folder = shutil.copytree(tiny_folder, tmp_path / masks)
        (folder / RECORD_FILE).write_text(json.dumps({"model": "tiny", "pattern": masks}))
        register_checkpoint(
            tracker, parent, folder, model="tiny", sparsity=0.6, masks=masks, tags={}
        )
    shown = r"patterns of zeros: 2:4 \(version 2\) and unstructured \(version 1\)"
    with pytest.raises(UsageError, match=shown):
        promotion.find_contenders(state, NAME, "2")


def test_a_version_on_a_server_is_downloaded_once_and_its_record_alone(
    tracker: Tracker, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shutil.copytree(tiny_folder, tmp_path / "made")
    (made / RECORD_FILE).write_text('{"model": "tiny"}')
    parent = tracker.parent("tiny", "one", {"model": "tiny"}, {})
    for folder in (made, tiny_folder):
        register_checkpoint(
            tracker, parent, folder, model="tiny", sparsity=0.6, masks=folder.name, tags={}
        )
    fetched: list[str] = []
    download = registry.download_artifacts

    def counted(**asked: Any) -> str:
        fetched.append(asked["artifact_uri"])
        return download(**asked)

    monkeypatch.setattr(registry, "download_artifacts", counted)
    monkeypatch.setattr(registry, "local_path", lambda _: None)
    assert registry.version_record(tracker, NAME, "1", "champion") == {"model": "tiny"}
    assert registry.version_record(tracker, NAME, "2", "challenger") == {}
    kept = tracker.state.registry
    assert not fetched and not kept.exists()
    folders = {registry.find_version(tracker, NAME, "1", "champion").folder for _ in range(2)}
    assert registry.continue_text(tracker, NAME, "1", "abc def", 2)[0] > 0
    (folder,) = folders
    assert folder.is_relative_to(kept) and (folder / "model.safetensors").is_file()
    assert len(fetched) == len(list(kept.iterdir())) == 1


def test_an_older_winner_that_is_registered_again_is_no_challenger(
    versions: list[str], tracker: Tracker, tiny_folder: Path
) -> None:
    assert aliases_of(tracker, NAME)["challenger"] == "3"
    (parent,) = tracker.searches().values()
    known: dict[str, Any] = {"model": "tiny", "sparsity": 0.6, "description": ""}
    again = register_checkpoint(tracker, parent, tiny_folder, masks="b", tags={}, **known)
    assert (again.version, again.model_uri) == ("2", f"models:/{NAME}/2")
    assert aliases_of(tracker, NAME)["challenger"] == "3"
    # Nor once that one is champion, and nobody challenges it.
    tracker.client.set_registered_model_alias(NAME, "champion", "3")
    tracker.client.delete_registered_model_alias(NAME, "challenger")
    register_checkpoint(tracker, parent, tiny_folder, masks="b", tags={}, **known)
    assert "challenger" not in aliases_of(tracker, NAME)


def test_a_rollback_means_the_model_that_has_a_champion_before(
    versions: list[str], tracker: Tracker, tiny_folder: Path, state: State
) -> None:
    first, _, third = versions
    promotion.settle(state, NAME, third, first, BETTER, {})
    # Another model has a challenger, and nothing to go back to.
    parent = tracker.parent("other", "two", {"model": "other"}, {})
    known: dict[str, Any] = {"model": "other", "sparsity": 0.6, "description": ""}
    for masks in ("a", "b"):
        register_checkpoint(tracker, parent, tiny_folder, masks=masks, tags={}, **known)
    assert promotion.roll_back(state, None, False)["name"] == NAME
    assert aliases_of(tracker, NAME)["champion"] == first


def test_two_promotions_at_once_cannot_both_win(
    versions: list[str], tracker: Tracker, state: State
) -> None:
    first, second, third = versions
    assert promotion.settle(state, NAME, second, first, BETTER, {})
    with pytest.raises(AutopruneError, match="changed while it was measured"):
        promotion.settle(state, NAME, third, first, BETTER, {})
    assert aliases_of(tracker, NAME)["champion"] == second
    assert aliases_of(tracker, NAME)["previous"] == first


@pytest.mark.parametrize("fails_at", ["champion", "tags"])
def test_a_store_that_fails_in_the_middle_is_put_back(
    versions: list[str], tracker: Tracker, state: State, fails_at: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first, second, _ = versions
    before = aliases_of(tracker, NAME)
    real = tracker.client.set_registered_model_alias

    def alias(name: str, which: str, version: str) -> None:
        if which == "champion" and version == second:
            raise OSError("disk full")
        real(name, which, version)

    def tag(*_args: object) -> None:
        raise OSError("disk full")

    method = "set_registered_model_alias" if fails_at == "champion" else "set_model_version_tag"
    monkeypatch.setattr(tracker.client, method, alias if fails_at == "champion" else tag)
    monkeypatch.setattr(track, "Tracker", lambda _: tracker)
    with pytest.raises(OSError, match="disk full"):
        promotion.settle(state, NAME, second, first, BETTER, {})
    assert aliases_of(tracker, NAME) == before
    assert aliases.moved_by_hand(tracker, NAME) is None


def test_moving_to_a_version_that_is_not_there_moves_nothing(
    versions: list[str], tracker: Tracker
) -> None:
    before = aliases_of(tracker, NAME)
    with pytest.raises(Exception, match="99"):
        move_champion(tracker, NAME, "99", versions[0], {})
    assert aliases_of(tracker, NAME) == before
