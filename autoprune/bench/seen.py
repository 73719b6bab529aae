"""The text that decided about a bench's model, as a fingerprint for later measurements."""

from collections.abc import Iterable

from autoprune.bench.model import ModelBench
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.text.seen_text import SeenText, known_text, united

# Windows by which masks are made or chosen, including further draws of calibration text
# ("calibration 1"); sealed windows do neither.
_DECIDING = (CALIBRATION, SELECTION)


def seen_by(bench: ModelBench) -> SeenText | None:
    """Return the text that decided about a bench's model, and that its original had seen.

    Returns:
        What :data:`autoprune.text.seen_text.FILE` holds in the model's folder; None if no text is
        known.
    """
    names = [name for name in bench.windows if name.partition(" ")[0] in _DECIDING]
    return united([known_text([bench.model_ref]), seen_in_windows(bench, names)])


def seen_in_windows(bench: ModelBench, names: Iterable[str]) -> SeenText | None:
    """Return the text of the named windows; names without windows are skipped."""
    decode = bench.tokenizer.decode
    texts = [
        decode(bench.windows[name].flatten().tolist(), skip_special_tokens=True)
        for name in names
        if name in bench.windows
    ]
    return SeenText.of(texts) if texts else None
