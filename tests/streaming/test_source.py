"""The model of a streamed prune is found without loading it, or refused."""

from pathlib import Path

import pytest

from autoprune import Bench
from autoprune.errors import UsageError
from autoprune.models.reference import ModelSource
from autoprune.streaming import streamed_source
from tests.support.tiny_subject import tiny_place


def test_what_cannot_be_streamed_is_refused_before_a_weight_is_read(tmp_path: Path) -> None:
    model, corpus = tiny_place(tmp_path)
    with Bench.open(model, corpus=corpus) as bench:
        for metric, statistics, message in (
            ("mine.py", "auto", "mine.py is scored in the container"),
            ("wanda", "dense", "leave out --stream or --statistics dense"),
        ):
            with pytest.raises(UsageError, match=message):
                streamed_source(bench, metric, statistics)
        assert streamed_source(bench, "wanda", "auto").folder == model
        assert "loaded" not in vars(bench)
        bench.source = ModelSource(str(model), tmp_path, "model.gguf", "")
        with pytest.raises(UsageError, match=r"tiny is a GGUF file; .* read safetensors shards"):
            streamed_source(bench, "wanda", "auto")
