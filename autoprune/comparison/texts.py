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
    """Give a generated text the seed of a draw; leave any other text unchanged.

    Args:
        ref: Reference of a text.
        number: Number of the draw; each has its own text, so no more is generated than is read.
    """
    if not is_generated(ref):
        return ref
    asked = Generated.from_text(ref.partition(":")[2])
    return replace(asked, seed=asked.seed + number).text


def calibration_corpus(bench: ModelBench, ref: str, tokens: int) -> tuple[Corpus, dict[str, Any]]:
    """Load a calibration text without what it shares with the evaluation parts.

    Args:
        bench: Holds the compared text; its model must be dense if it generates the text.
        ref: Reference of the text; that of the compared text means its calibration part.
        tokens: Number of tokens that will be read.

    Returns:
        The text, with windows ordered as in a part, and facts for the record: name, digest, what
        was left out because the selection or sealed part shares it, notes.

    Raises:
        AutopruneError: If there is no such text, or nothing is left of it.
    """
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
