"""Cut a text into a bench's windows, whole or in parts, and say what was cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoprune.bench.calibration import fresh_name
from autoprune.bench.model import ModelBench
from autoprune.bench.text import CALIBRATION, SELECTION, BenchText
from autoprune.evaluation.suites.cleaning import without_text
from autoprune.models.record import text_record
from autoprune.renamed import renamed
from autoprune.text.corpora import load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.windows import fewer_than_asked, token_windows

# Of the selection part of a split text.
SELECTION_WINDOWS = 8


@dataclass(frozen=True)
class CutText:
    """A text of which a bench holds windows.

    Args:
        corpus: Its name.
        digest: SHA-256 of its documents.
        windows: Number of windows.
        seqlen: Tokens in a window.
        tokens: Tokens in all windows.
        overlap: What was checked against held-out texts, and left out; None: nothing was.
        notes: What users of a model calibrated on it must know.
    """

    corpus: str
    digest: str
    windows: int
    seqlen: int
    tokens: int
    overlap: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the text is."""
        names = ("corpus", "digest", "windows", "seqlen", "tokens")
        return {name: getattr(self, name) for name in names}

    @property
    def record(self) -> dict[str, Any]:
        """The calibration text of a saved model, under the names of its record."""
        named = text_record(self.corpus, self.digest, self.windows, self.seqlen)
        return named | {"overlap": self.overlap}


@dataclass(frozen=True)
class SplitText:
    """Windows of two parts of a text, whose sealed part stays unread.

    Args:
        calibration: The calibration part.
        selection: The selection part.
        seed: Seed of the split.
        digest: SHA-256 of the split.
    """

    calibration: CutText
    selection: CutText
    seed: int
    digest: str

    @property
    def split(self) -> dict[str, Any]:
        """The split, as records hold it."""
        return {"seed": self.seed, "digest": self.digest}


def cut_windows(
    bench: ModelBench,
    corpus: str,
    count: int,
    seqlen: int,
    held_out: Sequence[str] | None = None,
    fresh: int = 0,
) -> CutText:
    """Cut calibration windows that are spread over all documents of a text."""
    author = bench.author((count + fresh) * seqlen)
    text = load_corpus(corpus, cache=bench.store, author=author, tokenizer=bench.tokenizer)
    text, overlap = without_text(text, held_out or [], bench.store, bench.tokenizer)
    found = _cut(bench, CALIBRATION, text.for_calibration(bench.seed), count, seqlen, fresh)
    notes = notes_on(text, f"the text {text.name}", count, found.windows, seqlen)
    return replace(found, overlap=overlap, notes=notes)


@renamed(samples="calibration_windows")
def split_windows(
    bench: ModelBench,
    corpus: str,
    calibration_windows: int,
    seqlen: int,
    seed: int,
    fresh: int = 0,
) -> SplitText:
    """Cut windows of the calibration and the selection part, without touching the sealed part."""
    counts: dict[str, int] = {CALIBRATION: calibration_windows, SELECTION: SELECTION_WINDOWS}
    bench.text = BenchText(corpus, seqlen, counts, seed)
    parts = bench.splits
    known = _cut(bench, CALIBRATION, parts.calibration, calibration_windows, seqlen, fresh)
    measured = _cut(bench, SELECTION, parts.selection, SELECTION_WINDOWS, seqlen)
    what = f"the calibration part of {known.corpus}"
    notes = notes_on(parts.calibration, what, calibration_windows, known.windows, seqlen)
    return SplitText(replace(known, notes=notes), measured, seed, parts.digest)


def notes_on(text: Corpus, what: str, asked: int, found: int, seqlen: int) -> tuple[str, ...]:
    """What users of a model calibrated on a text must know."""
    fewer = fewer_than_asked(what, found, asked, seqlen)
    return (*text.calibration_notes(), *([fewer] if fewer else []))


def _cut(
    bench: ModelBench, name: str, text: Corpus, count: int, seqlen: int, fresh: int = 0
) -> CutText:
    whole = token_windows(text, bench.tokenizer, count + fresh, seqlen, cache=bench.store)
    windows = bench.windows[name] = whole[:count]
    if fresh:
        bench.windows[fresh_name(fresh)] = whole[count:]
    return CutText(text.name, text.digest, len(windows), seqlen, windows.numel())
