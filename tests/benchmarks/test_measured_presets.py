"""The benchmark behind the presets of quality."""

from dataclasses import replace

import torch

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.quality import presets
from autoprune.text.corpus import Corpus
from benchmarks.quality import measured
from tests.support.tiny_subject import tiny_subject

MEASURED, KNOWN = presets()


def test_the_benchmark_measures_a_preset_and_leaves_the_model_dense() -> None:
    loaded = tiny_subject()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    known = replace(MEASURED, seqlen=16)
    small = replace(KNOWN[-1], windows=2, repair="mrp+ebft:epochs=1+recover:steps=2")
    text = Corpus.of("text", [" ".join(map(str, range(900)))])
    unseen = torch.arange(2, 66).reshape(4, 16)
    found = measured(loaded, text, unseen, known, small, "here")
    assert found.dense == evaluate_windows(loaded.model, unseen).perplexity != found.perplexity
    assert found.seconds > 0 and found.source == "here" and found.repair == small.repair
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), name
