"""What a streamed prune is estimated to take in memory."""

from pathlib import Path

import torch

from autoprune.metrics import build_metric
from autoprune.pruning import PruningPlan
from autoprune.streaming import StreamJob
from autoprune.streaming.estimate import memory_parts
from tests.support.tiny_models import random_windows, tiny_model


def test_an_estimate_counts_the_embeddings_of_the_texts_tokens(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="5kB")
    plan = PruningPlan.build(0.5, scoring="sequential")
    job = StreamJob(tmp_path, random_windows(2, 8), build_metric("wanda"), plan, device="cpu")
    opened = job.open()
    hidden = opened.skeleton.model.config.hidden_size
    distinct = len(torch.unique(job.windows))
    # Beside the rows that are looked up, only the last norm lies outside the blocks and the head.
    wanted = (distinct + 1) * hidden * opened.job.dtype.itemsize
    assert memory_parts(opened)["embeddings"] == wanted
