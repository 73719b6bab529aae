"""Calibration texts of a comparison by name, beside the compared text's own calibration part."""

from dataclasses import replace
from typing import Any

from autoprune.bench.bench import Bench
from autoprune.evaluation.suites.cleaning import Surroundings, clean
from autoprune.text.corpora import load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.generated import Generated, is_generated
from autoprune.text.seen_text import SeenText


def with_seed(ref: str, number: int) -> str:
    """The text that the model writes for a draw; any other text stays what it is.

    Args:
        ref: Reference of a text.
        number: Of the draw; each has a text of its own, so that no more is written than is read.
    """
    if not is_generated(ref):
        return ref
    asked = Generated.from_text(ref.partition(":")[2])
    return replace(asked, seed=asked.seed + number).text


def calibration_corpus(bench: Bench, ref: str, tokens: int) -> tuple[Corpus, dict[str, Any]]:
    """A text without what the comparison measures on.

    Args:
        bench: With the compared text; its model must be dense where it writes the text.
        ref: Reference of the text; that of the compared text means its calibration part.
        tokens: Tokens that will be read.

    Returns:
        The text with an order of windows like that of a part, and facts for the record: name,
        digest, what it shares with the selection and sealed parts and was left out, notes.

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
    around = Surroundings(bench.store, SeenText.of(held_out))
    found = clean(text.documents, around, what=f"the calibration text {text.name!r}", made=True)
    left = found.left(text)
    facts = {"corpus": text.name, "digest": text.digest, "overlap": found.report}
    # What a model writes is independent throughout; windows of other texts are spread over them.
    spread = left if text.generated else left.spread_by(f"{bench.text.split} calibration")
    return spread, facts | {"notes": text.calibration_notes()}
