"""The text that decided about a bench's model, as a fingerprint for later measurements."""

from autoprune.bench.model import ModelBench
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.text.seen_text import SeenText, seen_before, seen_in, united

# Windows by which masks are made or chosen, including further draws of calibration text
# ("calibration 1"); sealed windows do neither.
_DECIDING = (CALIBRATION, SELECTION)


def seen_by(bench: ModelBench) -> SeenText | None:
    """Return the text that decided about a bench's model, and that its original had seen."""
    known = bench.windows.items()
    windows = [ids for name, ids in known if name.partition(" ")[0] in _DECIDING]
    return united([seen_before(bench.source), seen_in(windows, bench.tokenizer)])
