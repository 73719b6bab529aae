"""What figures of a bench's model on its text depend on, as searches and comparisons record it."""

from typing import Any

from autoprune.bench.model import ModelBench
from autoprune.bench.text import SEALED
from autoprune.text.beginning import beginning_rule
from autoprune.text.overlap import shared_text
from autoprune.text.windows import WINDOWS_VERSION, fewer_than_asked


def protocol(bench: ModelBench) -> dict[str, Any]:
    """The part of a record that searches and comparisons share."""
    what, asked = f"the sealed part of {bench.text.corpus}", bench.text.counts[SEALED]
    return {
        "model_digest": bench.loaded.source.digest,
        "blocks": bench.layers[-1].block + 1,
        "prunable": bench.prunable,
        "beginning_token": beginning_rule(bench.loaded.tokenizer),
        "windows_version": WINDOWS_VERSION,
        "fewer_windows": fewer_than_asked(what, len(bench.part(SEALED)), asked, bench.text.seqlen),
        "overlap": shared_text(bench.splits),
    }
