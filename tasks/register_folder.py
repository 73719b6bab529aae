"""The task that registers a saved folder, as a challenger for the gate to judge."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.digest import digest_json
from autoprune.models.record import RECORD_FILE, made_record
from autoprune.schemes.card import share_is_of
from tasks import track
from tasks.provenance import here_tags
from tasks.recorded import task_run
from tasks.state import State

if TYPE_CHECKING:
    from tasks.track.models import Registered

KIND = "checkpoint"


@task_run("register folder", "register {folder}")
def register_folder(state: State, folder: str, name: str | None) -> "Registered":
    """Log a folder that ``autoprune prune`` wrote to MLflow, and make it the challenger.

    The same files under the same name are registered once.
    """
    # MLflow names what it stores after the last part, which "." does not have.
    place = Path(folder).expanduser().resolve()
    record = made_record(folder)
    share: Any = record.get("parameters_target", record.get("target"))
    if share_is_of(record.get("scheme", "")):
        # It competes by parameters, and its target was a share of something else.
        share = record["share_removed"]
    tracker, model = track.Tracker(state), record["model"]
    digest = digest_json(record["checkpoint"]["files"])
    own = track.models.smaller_name if "scheme" in record else track.models.registry_name
    tags = _tags(record) | here_tags()
    run = track.stages.log_stage(
        tracker,
        KIND,
        model,
        f"{place.name}-{digest[:12]}",
        params={
            key: value for key, value in record.items() if isinstance(value, str | int | float)
        },
        metrics={},
        tags=tags,
        files=[place / RECORD_FILE],
    )
    return track.register_checkpoint(
        tracker,
        run,
        place,
        model=model,
        sparsity=share,
        masks=digest,
        tags=tags,
        may_lead=False,
        # The user may write into it, which would change what is registered.
        shared=False,
        name=name or own(model, share),
    )


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Tags that say what made a folder."""
    if "scheme" not in record:
        return {"autoprune.zeros": str(record["checkpoint"]["zeros"])}
    return {
        "autoprune.scheme": str(record["scheme"]),
        "autoprune.parameters": str(record["parameters"]),
    }
