"""What made a saved model, under the names of its record ``autoprune.json``."""

from typing import Any


def source_record(ref: str, digest: str, seed: int) -> dict[str, Any]:
    """The dense model and the seed.

    Args:
        ref: Reference of the model.
        digest: SHA-256 of its files.
        seed: Seed of every random choice.
    """
    return {"model": ref, "model_digest": digest, "seed": seed}


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
