"""Aliases of the registry: champion and challenger, and how to move them all or none.

There is one registered model per base model and sparsity; its aliases are ``champion``,
``challenger`` and ``previous``.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from filelock import Timeout as LockTimeout
from mlflow.artifacts import download_artifacts, list_artifacts, load_dict
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.models.quiet import quiet_transformers
from autoprune.models.record import RECORD_FILE
from autoprune.names import CHAMPION as CHAMPION
from autoprune.storage import atomic_folder
from tasks.track.pages import all_pages
from tasks.track.runs import LONGEST_TAG, Tracker, local_path

log = logging.getLogger(__name__)

CHALLENGER = "challenger"
PREVIOUS = "previous"
# Tag of the registered model: the champion that a search or a promotion made.
MADE_CHAMPION = "autoprune.champion"
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """One version of a registered model, found by alias or number.

    Args:
        name: Registered model.
        version: Its number.
        source: ``models:/m-...`` address of the logged model.
        folder: The checkpoint that it serves.
        tags: Tags of the version.
    """

    name: str
    version: str
    source: str
    folder: Path
    tags: Mapping[str, str]


def choose_model(tracker: Tracker, name: str | None, alias: str = CHALLENGER) -> str:
    """Choose the registered model: the named one, else the only one with a challenger.

    Args:
        tracker: The store.
        name: Registered model; None: the only one with the alias.
        alias: What it must have for that; a rollback needs a ``previous``.

    Raises:
        UsageError: If it does not exist, or if several could be meant.
    """
    found = our_models(tracker)
    names = sorted(model.name for model in found)
    if name is not None:
        if name in names:
            return name
        raise UsageError(
            f"no registered model {name!r} in {tracker.state.tracking_place}; there are: "
            f"{', '.join(names) or 'none'}; name one of them or run `autoprune search` first"
        )
    if not found:
        raise UsageError(
            f"no model of AutoPrune is registered in {tracker.state.tracking_place}; a search "
            "registers its winner; run `autoprune search` first"
        )
    waiting = [model.name for model in found if alias in model.aliases] or names
    if len(waiting) > 1:
        raise UsageError(
            f"{len(waiting)} registered models could be meant: {', '.join(sorted(waiting))}; "
            "choose one with --name"
        )
    return str(waiting[0])


def our_models(tracker: Tracker) -> list[RegisteredModel]:
    """All registered models of AutoPrune in the store, however many pages of them there are."""
    search = tracker.client.search_registered_models
    return all_pages(lambda token: search("name LIKE 'autoprune.%'", page_token=token))


def aliases_of(tracker: Tracker, name: str) -> dict[str, str]:
    """Version numbers by alias."""
    model = tracker.client.get_registered_model(name)
    return {alias: str(number) for alias, number in dict(model.aliases).items()}


def moved_by_hand(tracker: Tracker, name: str) -> tuple[str, str] | None:
    """The champion that a promotion made, and the one put in its place by other means.

    None if both are the same, or nothing is on record.
    """
    made, now = _made_champion(tracker, name), aliases_of(tracker, name).get(CHAMPION)
    return None if made is None or now is None or now == made else (made, now)


def _made_champion(tracker: Tracker, name: str) -> str | None:
    tags: dict[str, str] = dict(tracker.client.get_registered_model(name).tags or {})
    return tags.get(MADE_CHAMPION)


def note_champion(tracker: Tracker, name: str, number: str) -> None:
    """Record which version this program made champion."""
    tracker.client.set_registered_model_tag(name, MADE_CHAMPION, number)


def has_version(tracker: Tracker, name: str, number: str) -> bool:
    """Whether a registered model has a version of this number; it may have been deleted."""
    try:
        tracker.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def find_version(tracker: Tracker, name: str, number: str, role: str) -> Place:
    """Find a version and the folder that it serves.

    Files on a server are downloaded once, into the state folder.

    Args:
        tracker: The store.
        name: Registered model.
        number: Version.
        role: Its intended role, for messages.

    Raises:
        UsageError: If the version was deleted.
        AutopruneError: If its model or its files were deleted.
    """
    found = _existing(tracker, name, number, role)
    with _files_of(found, role):
        configs = sorted(_model_folder(tracker, found).glob("artifacts/**/config.json"))
        if not configs:
            raise FileNotFoundError("no config.json")
    return Place(name, str(found.version), str(found.source), configs[0].parent, found.tags)


def version_record(tracker: Tracker, name: str, number: str, role: str) -> dict[str, Any]:
    """What a version's record says about how it was made; its weights are not downloaded.

    Args:
        tracker: The store.
        name: Registered model.
        number: Version.
        role: Its intended role, for messages.

    Returns:
        The record; empty if the checkpoint has none.

    Raises:
        UsageError: If the version was deleted.
        AutopruneError: If its model or its files were deleted.
    """
    found = _existing(tracker, name, number, role)
    with _files_of(found, role):
        root = f"{_artifacts(tracker, found)}/artifacts"
        for folder in _listed(tracker, root):
            files = _listed(tracker, f"{root}/{folder}")
            if "config.json" in files:
                known = RECORD_FILE in files
                return load_dict(f"{root}/{folder}/{RECORD_FILE}") if known else {}
        raise FileNotFoundError("no config.json")


def continue_text(
    tracker: Tracker, name: str, number: str, text: str, tokens: int
) -> tuple[float, str]:
    """Open a version as a user would; return loss of ``text`` (nats per token) and continuation."""
    import mlflow.pyfunc

    found = tracker.client.get_model_version(name, number)
    with quiet_transformers():
        model = mlflow.pyfunc.load_model(str(_model_folder(tracker, found)))
        answer = model.predict([text], params={"max_new_tokens": tokens}).iloc[0]
    return float(answer["nll"]), str(answer["continuation"])


def write_tags(tracker: Tracker, name: str, number: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        tracker.client.set_model_version_tag(name, number, key, value[:LONGEST_TAG])


@contextmanager
def registry_lock(tracker: Tracker, name: str) -> Iterator[None]:
    """Keep other promotions of this model on this machine out.

    Raises:
        AutopruneError: If another promotion holds the lock for too long.
    """
    folder = tracker.state.root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"promote-{name}.lock"))
    try:
        with lock.acquire(timeout=LOCK_SECONDS):
            yield
    except LockTimeout as error:
        raise AutopruneError(
            f"another promotion of {name} holds {lock.lock_file} for more than "
            f"{LOCK_SECONDS:.0f} s; wait for it, then type the same command again"
        ) from error


@contextmanager
def aliases_restored(tracker: Tracker, name: str) -> Iterator[None]:
    """Restore the aliases and who made the champion if the body fails, then re-raise."""
    before, made = aliases_of(tracker, name), _made_champion(tracker, name)
    try:
        yield
    except BaseException:
        _restore(tracker, name, before)
        if made is not None and _made_champion(tracker, name) != made:
            note_champion(tracker, name, made)
        raise


def move_champion(
    tracker: Tracker, name: str, number: str, expected: str | None, *, by_hand: bool = False
) -> None:
    """Make ``number`` the champion and the former champion ``previous``, or change nothing.

    Args:
        tracker: The store.
        name: Registered model.
        number: The new champion.
        expected: Champion that was measured against; None: there was none.
        by_hand: The former champion was set by hand and not measured: it does not become
            ``previous``, which a later rollback would install.

    Raises:
        AutopruneError: If the champion was moved in the meantime.
    """
    aliases = aliases_of(tracker, name)
    if aliases.get(CHAMPION) != expected:
        now = aliases.get(CHAMPION)
        raise AutopruneError(
            f"the champion of {name} changed while it was measured (was "
            f"{_version(expected)}, is {_version(now)}); nothing was moved; "
            "type the same command again to measure against the new one"
        )
    with aliases_restored(tracker, name):
        if expected is not None and not by_hand:
            tracker.client.set_registered_model_alias(name, PREVIOUS, expected)
        elif aliases.get(PREVIOUS) == number:
            tracker.client.delete_registered_model_alias(name, PREVIOUS)
        tracker.client.set_registered_model_alias(name, CHAMPION, number)
        if aliases.get(CHALLENGER) == number:
            tracker.client.delete_registered_model_alias(name, CHALLENGER)
        note_champion(tracker, name, number)
        after = aliases_of(tracker, name)
        if after.get(CHAMPION) != number:
            raise AutopruneError(
                f"{tracker.state.tracking_place} says that the champion of {name} is "
                f"{_version(after.get(CHAMPION))} right after it was set to version {number}; "
                "the aliases were put back; see who else writes there, then try again"
            )


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"


def _restore(tracker: Tracker, name: str, before: Mapping[str, str]) -> None:
    now = aliases_of(tracker, name)
    for alias in (CHAMPION, CHALLENGER, PREVIOUS):
        wanted = before.get(alias)
        if now.get(alias) == wanted:
            continue
        if wanted is None:
            tracker.client.delete_registered_model_alias(name, alias)
        else:
            tracker.client.set_registered_model_alias(name, alias, wanted)
    log.warning("the aliases of %s were put back: %s", name, dict(before))


def _existing(tracker: Tracker, name: str, number: str, role: str) -> ModelVersion:
    try:
        return tracker.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = sorted(
            int(version.version)
            for version in tracker.client.search_model_versions(f"name = '{name}'")
        )
        there = ", ".join(map(str, known)) or "none"
        raise UsageError(
            f"{name} has no version {number!r}, which is wanted as {role}; there are: {there}; set "
            f"the alias {role!r} to one of them in the MLflow UI, or name one with --version"
        ) from error


@contextmanager
def _files_of(found: ModelVersion, role: str) -> Iterator[None]:
    """Name the version whose files the body does not find."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise AutopruneError(
            f"the files of {found.name} version {found.version} ({role}) are gone from "
            f"{found.source} ({reason_of(error, 160)}); set the alias {role!r} to a "
            "version whose files are there, or register the checkpoint again with `autoprune "
            "search`"
        ) from error


def _model_folder(tracker: Tracker, found: ModelVersion) -> Path:
    """Folder of a version as MLflow saved it; downloaded once if it is on a server."""
    place = _artifacts(tracker, found)
    here = local_path(place)
    if here is not None:
        return here
    # A version's number may be taken again in another store; the address of its model is unique.
    kept = tracker.state.registry / digest_json(str(found.source))[:32]
    if not kept.is_dir():
        with atomic_folder(kept) as part:
            download_artifacts(
                artifact_uri=place, dst_path=str(part), tracking_uri=tracker.tracking_uri
            )
    for file in kept.rglob("MLmodel"):
        return file.parent
    raise FileNotFoundError(f"{kept} holds no MLmodel")


def _listed(tracker: Tracker, folder: str) -> list[str]:
    """Names of the files and folders in a folder of artifacts; empty if there is none."""
    found = list_artifacts(artifact_uri=folder, tracking_uri=tracker.tracking_uri)
    return [PurePosixPath(entry.path).name for entry in found]


def _artifacts(tracker: Tracker, found: ModelVersion) -> str:
    source: Any = found.source
    prefix = "models:/m-"
    if str(source).startswith(prefix):
        return str(
            tracker.client.get_logged_model(str(source).removeprefix("models:/")).artifact_location
        )
    return str(source)
