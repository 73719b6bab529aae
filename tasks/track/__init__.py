"""MLflow as a mirror of searches: our only package that imports it.

The client takes seconds to import, and an installation may lack it. So the contents of this package
are imported at first use: write ``from tasks import track``, then ``track.Tracker``.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from tasks.track import aliases, killed, mask_records, models, registry, runs, stages, traces
    from tasks.track.models import register_checkpoint
    from tasks.track.runs import Tracker

__all__ = [
    "Tracker",
    "aliases",
    "killed",
    "mask_records",
    "models",
    "register_checkpoint",
    "registry",
    "runs",
    "stages",
    "traces",
]

_PLACES = {
    "Tracker": "tasks.track.runs",
    "aliases": "tasks.track.aliases",
    "killed": "tasks.track.killed",
    "models": "tasks.track.models",
    "register_checkpoint": "tasks.track.models",
    "registry": "tasks.track.registry",
    "runs": "tasks.track.runs",
    "mask_records": "tasks.track.mask_records",
    "stages": "tasks.track.stages",
    "traces": "tasks.track.traces",
}

__getattr__ = lazily(__name__, _PLACES)
