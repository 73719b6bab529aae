"""Versions of the registry: find one, its files, its record.

There is one registered model per base model and sparsity; its aliases are in
:mod:`tasks.track.aliases`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow.artifacts import download_artifacts, list_artifacts, load_dict
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.models.quiet import quiet_transformers
from autoprune.models.record import RECORD_FILE
from autoprune.storage import atomic_folder
from tasks.track.aliases import CHALLENGER, version_of
from tasks.track.pages import all_pages
from tasks.track.runs import Tracker, local_path


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
    """Choose the registered model: the named one, else the only one with a challenger."""
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


def find_version(tracker: Tracker, name: str, number: str, role: str) -> Place:
    """Find a version and the folder that it serves.

    Files on a server are downloaded once, into the state folder.
    """
    found = _existing(tracker, name, number, role)
    with _files_of(found, role):
        configs = sorted(_model_folder(tracker, found).glob("artifacts/**/config.json"))
        if not configs:
            raise FileNotFoundError("no config.json")
    return Place(name, str(found.version), str(found.source), configs[0].parent, found.tags)


def version_record(tracker: Tracker, name: str, number: str, role: str) -> dict[str, Any]:
    """What a version's record says about how it was made; its weights are not downloaded."""
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


def _existing(tracker: Tracker, name: str, number: str, role: str) -> ModelVersion:
    found = version_of(tracker, name, number)
    if found is None:
        known = sorted(
            int(version.version)
            for version in tracker.client.search_model_versions(f"name = '{name}'")
        )
        there = ", ".join(map(str, known)) or "none"
        raise UsageError(
            f"{name} has no version {number!r}, which is wanted as {role}; there are: {there}; set "
            f"the alias {role!r} to one of them in the MLflow UI, or name one with --version"
        )
    return found


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
