"""Tasks that prepare a workbench: the model, the text's windows, the statistics."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autoprune.bench.calibration import StoredStatistics, fresh_name
from autoprune.bench.text import CALIBRATION
from autoprune.evaluation.suites.cleaning import without_text
from autoprune.models.record import text_record
from autoprune.plain_text import in_code
from autoprune.text.corpora import load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.windows import fewer_than_asked, token_windows
from tasks.recorded import recorded, step
from tasks.search_bench import SearchBench
from tasks.workbench import Workbench


@dataclass(frozen=True)
class CutText:
    """A text of which a workbench holds windows.

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


@step("load model", "load {model}")
def load_model(bench: Workbench, model: str) -> dict[str, Any]:
    """Load the workbench's model and return what it is.

    Args:
        bench: An open workbench.
        model: Its reference, for the task's name.
    """
    started = time.monotonic()
    layers = bench.layers
    return {
        "model": model,
        "digest": bench.loaded.source.digest,
        "blocks": layers[-1].block + 1,
        "linears": len(layers),
        "prunable": bench.prunable,
        "seconds": time.monotonic() - started,
    }


@step("cut windows", "cut {count} x {seqlen} tokens of {corpus}")
def cut_windows(
    bench: Workbench,
    name: str,
    corpus: str,
    count: int,
    seqlen: int,
    held_out: list[str] | None = None,
    fresh: int = 0,
) -> CutText:
    """Cut token windows that are spread over all documents of a text.

    Args:
        bench: An open workbench.
        name: Name by which later tasks find these windows.
        corpus: Reference of the text.
        count: Number of windows.
        seqlen: Tokens in a window.
        held_out: Texts that figures will be measured on; their documents are left out.
        fresh: Further windows after these, as many as there are, for ``bench.fresh_windows``.

    Raises:
        UsageError: If the text does not exist or is too short.
        ContaminationError: If nothing is left.
    """
    author = bench.author((count + fresh) * seqlen)
    text = load_corpus(corpus, cache=bench.store, author=author, tokenizer=bench.tokenizer)
    text, overlap = without_text(text, held_out or [], bench.store, bench.tokenizer)
    found = cut(bench, name, text.for_calibration(bench.seed), count, seqlen, fresh)
    return replace(
        found, overlap=overlap, notes=notes_on(found, text, f"the text {text.name}", count)
    )


def notes_on(found: CutText, text: Corpus, what: str, asked: int) -> tuple[str, ...]:
    """What users of a model calibrated on a text must know.

    Args:
        found: The text that was cut.
        text: The same with its documents.
        what: Its name in a sentence.
        asked: Number of windows that were asked for.
    """
    fewer = fewer_than_asked(what, found.windows, asked, found.seqlen)
    return (*text.calibration_notes(), *([fewer] if fewer else []))


def cut(
    bench: Workbench, name: str, text: Corpus, count: int, seqlen: int, fresh: int = 0
) -> CutText:
    """Cut a text as for :func:`cut_windows`, and return what it is, without notes."""
    whole = token_windows(text, bench.tokenizer, count + fresh, seqlen, cache=bench.store)
    windows = bench.windows[name] = whole[:count]
    if fresh:
        bench.windows[fresh_name(fresh)] = whole[count:]
    return CutText(text.name, text.digest, len(windows), seqlen, windows.numel())


@step("collect statistics", "statistics of {name}")
def collect_statistics(bench: Workbench, name: str, needs: list[str]) -> dict[str, Any]:
    """Collect the dense model's statistics on the named windows, or find them in the store."""
    started = time.monotonic()
    statistics = bench.statistics(name, needs)
    return {
        "tokens": statistics.tokens,
        "digest": statistics.digest,
        "needs": sorted(needs),
        "seconds": time.monotonic() - started,
    }


def calibrate(bench: SearchBench) -> dict[str, Any]:
    """Collect the statistics of a search, or take them from the store by their digest.

    Args:
        bench: The search's; its model is loaded and dense.

    Returns:
        ``windows``, ``seqlen``, ``tokens`` and ``documents`` that were read, the names of the
        ``statistics``, their ``digest``, ``cached``: whether the store had them, and ``seconds``.
    """

    def work() -> dict[str, Any]:
        started = time.monotonic()
        windows, found = bench.drawn_windows(), bench.calibrated(())
        kept = bench.statistics_of(0)
        return {
            "windows": len(windows),
            "seqlen": windows.shape[1],
            "tokens": found.tokens,
            "documents": len(bench.splits.calibration.documents),
            "statistics": sorted({name for layer in found.layers.values() for name in layer}),
            "digest": found.digest,
            "cached": isinstance(kept, StoredStatistics) and kept.cached,
            "notes": list(found.notes),
            "seconds": time.monotonic() - started,
        }

    return recorded("calibrate", f"calibrate {bench.run_id}", work)()


def calibrate_again(bench: SearchBench) -> tuple[str, str, bool]:
    """Collect the statistics of a search once more and compare; a damaged file is replaced.

    Args:
        bench: The search's; its model is loaded and dense.

    Returns:
        As :func:`autoprune.statistics.statistics.collect_anew`.
    """

    def work() -> tuple[str, str, bool]:
        kept = bench.statistics_of(0)
        assert isinstance(kept, StoredStatistics)
        return kept.collect_anew()

    return recorded("calibrate", f"calibrate {bench.run_id} again", work)()


def calibration_markdown(facts: Mapping[str, Any]) -> str:
    """Format as a table for Prefect's page which text was read, and what came of it.

    Args:
        facts: What :func:`calibrate` returns. The flow ``calibrate`` has no split text and does not
            ask the store: it gives ``corpus`` in place of ``documents`` and ``cached``.
    """
    rows = [
        ("windows", f"{facts['windows']} of {facts['seqlen']} tokens"),
        ("tokens", f"{facts['tokens']:,}"),
        ("statistics", ", ".join(facts["statistics"])),
        ("digest", f"`{facts['digest']}`"),
        ("seconds", f"{facts['seconds']:.1f}"),
    ]
    if "corpus" in facts:
        rows.insert(0, ("text", in_code(facts["corpus"]).replace("|", "\\|")))
    if "documents" in facts:
        rows.insert(2, ("documents", f"{facts['documents']:,} in the {CALIBRATION} part"))
    if "cached" in facts:
        place = "cached: from the store" if facts["cached"] else "computed: one pass of the model"
        rows.insert(-1, ("source", place))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return "\n\n".join([f"| calibration | |\n|---|---|\n{table}", *facts["notes"]])
