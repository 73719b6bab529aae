"""Checkpoints as MLflow models and registry versions."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from autoprune.budget import Budget
from autoprune.digest import digest_file
from autoprune.models.quiet import quiet_transformers
from autoprune.plain_text import in_code
from autoprune.storage import share_file
from tasks.state import model_slug
from tasks.track.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    aliases_of,
    note_champion,
    registry_lock,
)
from tasks.track.registry import our_models
from tasks.track.runs import MASKS_TAG, Tracker, local_path
from tasks.track.traces import CANDIDATE_TAG

CODE = Path(__file__).with_name("served_model.py")
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "pandas")
EXAMPLE = (["Pruning a neural network means"], {"max_new_tokens": 32})


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Args:
        name: Registered model.
        version: Its version.
        model_uri: What ``mlflow.pyfunc.load_model`` takes.
    """

    name: str
    version: str
    model_uri: str


def registry_name(model: str, sparsity: float) -> str:
    """``autoprune.<model>.s<percent>``."""
    return f"autoprune.{model_slug(model)}.s{round(sparsity * 100)}"


def smaller_name(model: str, share: float) -> str:
    """``autoprune.<model>.p<percent>``: for models that a scheme made smaller by this share."""
    return f"autoprune.{model_slug(model)}.p{round(share * 100)}"


def budget_name(model: str, budget: Budget, *, smaller: bool) -> str:
    """Registered model in which winners of a search with this budget compete.

    Besides the two above: ``autoprune.<model>.b25`` for 25 % of the bytes, ``.x130`` for 1.3 times
    the speed.
    """
    if budget.unit != "sparsity":
        return f"autoprune.{model_slug(model)}.{budget.tag}"
    return smaller_name(model, budget.share) if smaller else registry_name(model, budget.share)


def register_checkpoint(
    tracker: Tracker,
    parent_id: str,
    folder: Path,
    *,
    model: str,
    sparsity: float,
    masks: str,
    tags: Mapping[str, str],
    may_lead: bool = True,
    shared: bool = True,
    description: str = "",
    name: str | None = None,
    goal: str = "",
) -> Registered:
    """Log a saved folder as a model of a run, register it, and set its alias.

    The first version of a name is its champion; later ones are challengers.

    Doing it again with the same masks of the same candidate and run changes nothing.
    """
    name = name or registry_name(model, sparsity)
    client = tracker.client
    known = _known_version(tracker, name, parent_id, {**tags, MASKS_TAG: masks})
    if known is None:
        model_id = _log_model(tracker, parent_id, folder, tags, shared)
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = client.create_model_version(
            name,
            f"models:/{model_id}",
            run_id=parent_id,
            tags={**tags, MASKS_TAG: masks},
            model_id=model_id,
            description=description or None,
        )
        # Keep what a person wrote in the meantime.
        if not client.get_registered_model(name).description:
            client.update_registered_model(name, _about(name, model, sparsity, goal))
    alias = _present(tracker, name, str(known.version), may_lead)
    at = f"@{alias}" if alias else f"/{known.version}"
    return Registered(name, str(known.version), f"models:/{name}{at}")


def _about(name: str, model: str, share: float, goal: str) -> str:
    made = f"with {share:.0%} of its prunable weights set to zero, as searches found"
    if name == smaller_name(model, share):
        made = f"made smaller by schemes: {share:.0%} of its blocks' parameters are gone"
    if goal:
        made = f"made smaller by schemes, each to {goal}"
    return (
        f"{in_code(model)} {made}. Alias `champion`: the best that passed the gate of `autoprune "
        "promote`; `challenger`: the latest winner; `previous`: the champion before."
    )


def registered_models(tracker: Tracker) -> list[dict[str, Any]]:
    """Our registered models with their aliases."""
    return [
        {"name": found.name, "aliases": {name: str(n) for name, n in found.aliases.items()}}
        for found in our_models(tracker)
    ]


def _log_model(
    tracker: Tracker, parent_id: str, folder: Path, tags: Mapping[str, str], shared: bool
) -> str:
    client = tracker.client
    experiment = client.get_run(parent_id).info.experiment_id
    logged = client.create_logged_model(
        experiment, name="pruned", source_run_id=parent_id, tags=dict(tags), model_type="causal-lm"
    )
    target = local_path(logged.artifact_location)
    place = target or tracker.state.root / "upload" / logged.model_id
    try:
        # MLflow opens the model once to try the example.
        with quiet_transformers():
            mlflow.pyfunc.save_model(
                str(place),
                python_model=str(CODE),
                artifacts={"checkpoint": str(folder)},
                pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
                input_example=EXAMPLE,
                mlflow_model=Model(run_id=parent_id, model_id=logged.model_id),
            )
        if target is None:
            client.log_model_artifacts(logged.model_id, str(place))
        elif shared:
            _keep_once(folder, place)
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        shutil.rmtree(place, ignore_errors=True)
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(parent_id, [LoggedModelOutput(logged.model_id, step=0)])
    if target is None:
        shutil.rmtree(place, ignore_errors=True)
    return str(logged.model_id)


def _keep_once(folder: Path, place: Path) -> None:
    """Make MLflow's copy of the weights share the files of the run's folder."""
    copies = {path.name: path for path in place.rglob("*.safetensors")}
    for path in folder.glob("*.safetensors"):
        other = copies.get(path.name)
        if other is not None and digest_file(path) == digest_file(other):
            share_file(path, other)


def _known_version(
    tracker: Tracker, name: str, parent_id: str, tags: Mapping[str, str]
) -> ModelVersion | None:
    """The version of the same run with the same masks, of the same candidate where one is named."""
    # Two repairs may give the same masks and other weights.
    own = {tag: tags[tag] for tag in (MASKS_TAG, CANDIDATE_TAG) if tag in tags}
    for found in tracker.client.search_model_versions(f"name = '{name}'"):
        if found.run_id == parent_id and own.items() <= dict(found.tags).items():
            return found
    return None


def _present(tracker: Tracker, name: str, number: str, may_lead: bool) -> str:
    """Set the alias: champion if there is none yet, else challenger; promotions move champions.

    A version that is older than challenger or champion, and registered again, gets none.
    """
    client = tracker.client
    with registry_lock(tracker, name):
        aliases = aliases_of(tracker, name)
        if number in (aliases.get(CHAMPION), aliases.get(PREVIOUS)):
            # Already registered and settled; repeating the same search changes nothing.
            return CHAMPION if number == aliases.get(CHAMPION) else PREVIOUS
        alias = CHALLENGER if CHAMPION in aliases or not may_lead else CHAMPION
        newest = max(int(aliases.get(role, 0)) for role in (CHALLENGER, CHAMPION))
        if alias == CHALLENGER and newest > int(number):
            return ""
        client.set_registered_model_alias(name, alias, number)
        if alias == CHAMPION:
            note_champion(tracker, name, number)
    return alias
