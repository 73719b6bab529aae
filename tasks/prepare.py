"""What precedes the steps of a search: model and text, the note of a look, the dense model."""

import time
from typing import TYPE_CHECKING, Any

from autoprune.bench.protocol import protocol
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, Part
from autoprune.models.gguf_reading import quantisation
from tasks.recorded import recorded
from tasks.sealed_looks import earlier_looks, record_look
from tasks.search_bench import SearchBench
from tasks.state import folder_tag

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation


def prepare(bench: SearchBench) -> dict[str, Any]:
    """Load the model and split the text; :func:`tasks.calibrate.calibrate` comes next."""
    return recorded("prepare", f"prepare {bench.run_id}", _prepared)(bench)


def _prepared(bench: SearchBench) -> dict[str, Any]:
    started = time.monotonic()
    # A model without any is refused before its text is split.
    layers = bench.layers
    parts = {}
    for name in (CALIBRATION, SELECTION, SEALED):
        corpus = getattr(bench.splits, name)
        windows = bench.part(name)
        parts[name] = {
            "documents": len(corpus.documents),
            "digest": corpus.digest,
            "windows": len(windows),
            "tokens": windows.numel(),
        }
    return {
        **protocol(bench),
        "layer_numel": {layer.name: layer.numel for layer in layers},
        "parts": parts,
        "sealed_set": earlier_looks(bench.state, bench.splits, _look_of(bench)).to_json(),
        "quantised": quantisation(bench.loaded.source),
        "seconds": time.monotonic() - started,
    }


def note_look(bench: SearchBench, again: str = "") -> dict[str, Any]:
    """Note the search's one look at the sealed text, before anything is measured there."""

    def noted() -> dict[str, Any]:
        splits, look = bench.splits, _look_of(bench) + (f", again {again}" if again else "")
        known = earlier_looks(bench.state, splits, look).to_json()
        text, whole = splits.sealed.digest, splits.whole
        looks = record_look(bench.state, text, look, whole, kind="search", splits=splits)
        return {"sealed_looks": looks, "sealed_set": known}

    return recorded("look at the seal", f"{bench.run_id} opens the sealed text", noted)()


def _look_of(bench: SearchBench) -> str:
    """Name of a search in the ledger.

    Two state folders may have searches of the same name, and so may one, after `autoprune rm`.
    """
    name = f"search {bench.run_id}, {folder_tag(bench.state)}"
    return f"{name}, {bench.log_id}" if bench.log_id else name


def measure_dense(bench: SearchBench, part: Part) -> "Evaluation":
    """Measure the model before pruning on one part of the text."""

    def measured() -> "Evaluation":
        bench.dense.restore()
        return bench.evaluate(part)

    return recorded("dense", f"dense perplexity on {part}", measured)()
