"""What made a saved model, under the names of its record ``autoprune.json``."""

from typing import Any

from autoprune.numerics import computed_by, hardware

# Figures of the dense and a smaller model, measured in turns.
DENSE_COMPARISON = "beside_dense"


def source_record(ref: str, digest: str, seed: int) -> dict[str, Any]:
    """The dense model, the seed, and what computes.

    Args:
        ref: Reference of the model.
        digest: SHA-256 of its files.
        seed: Seed of every random choice.
    """
    by = {"computed_by": computed_by(), "hardware": hardware()}
    return {"model": ref, "model_digest": digest, "seed": seed, **by}


def text_record(corpus: str, digest: str, windows: int, seqlen: int) -> dict[str, Any]:
    """The calibration text. ``spread`` tells it from that of earlier versions: the first windows.

    Args:
        corpus: Its name.
        digest: SHA-256 of its documents.
        windows: Number of windows.
        seqlen: Tokens per window.
    """
    size = {"samples": windows, "seqlen": seqlen}
    return {"corpus": corpus, "corpus_digest": digest, **size, "spread": True}
