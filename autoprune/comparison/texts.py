"""Named calibration texts, in addition to the compared text's own calibration part."""

from dataclasses import replace
from typing import Any

from autoprune.bench.model import ModelBench
from autoprune.evaluation.suites.cleaning import Resources, clean
from autoprune.text.corpora import load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.generated import Generated, is_generated
from autoprune.text.seen_text import SeenText


def with_seed(ref: str, number: int) -> str:
    """Give a generated text the seed of a draw; leave any other text unchanged."""
    if not is_generated(ref):
        return ref
    asked = Generated.from_text(ref.partition(":")[2])
    return replace(asked, seed=asked.seed + number).text


def calibration_corpus(bench: ModelBench, ref: str, tokens: int) -> tuple[Corpus, dict[str, Any]]:
    """Load a calibration text without what it shares with the evaluation parts."""
    if ref == bench.text.corpus:
        own = bench.splits.calibration
        return own, {"corpus": own.name, "digest": own.digest, "notes": own.calibration_notes()}
    text = load_corpus(
        ref, cache=bench.store, author=bench.author(tokens), tokenizer=bench.tokenizer
    )
    held_out = [*bench.splits.selection.documents, *bench.splits.sealed.documents]
    resources = Resources(bench.store, SeenText.of(held_out))
    found = clean(text.documents, resources, what=f"the calibration text {text.name!r}", made=True)
    left = found.left(text)
    facts = {"corpus": text.name, "digest": text.digest, "overlap": found.report}
    # Generated documents are independent of each other; windows of other texts are spread out.
    spread = left if text.generated else left.spread_by(f"{bench.text.split} calibration")
    return spread, facts | {"notes": text.calibration_notes()}
