"""Prune models that do not fit in memory: one block at a time, from shards to shards."""

from autoprune.streaming.estimate import StreamEstimate, estimate
from autoprune.streaming.job import StreamJob
from autoprune.streaming.prune import StreamedModel, prune_streamed
from autoprune.streaming.source import streamed_source

__all__ = [
    "StreamEstimate",
    "StreamJob",
    "StreamedModel",
    "estimate",
    "prune_streamed",
    "streamed_source",
]
