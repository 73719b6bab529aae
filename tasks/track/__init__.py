"""MLflow as a mirror of searches: the only package of ours that imports it."""

from tasks.track.models import register_checkpoint
from tasks.track.runs import Tracker

__all__ = ["Tracker", "register_checkpoint"]
