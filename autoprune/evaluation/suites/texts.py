"""Texts for suites: read splits, count looks at sealed text, drop what the model has seen."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from autoprune.errors import PrerequisiteError, UsageError
from autoprune.evaluation.suites.cleaning import Cleaned, Resources, clean
from autoprune.evaluation.suites.rows import PASSING, Row, RowContext
from autoprune.models.loading import LoadedModel
from autoprune.text.corpora import Corpus, load_corpus
from autoprune.text.hygiene import ContaminationError
from autoprune.text.splits import split

TextPart = Literal["all", "calibration", "selection", "sealed"]
Read = TypeVar("Read")
# Why each text that cannot be measured on is unavailable, by its reference.
Lacking = dict[str, PrerequisiteError | ContaminationError]


@dataclass(frozen=True)
class Text:
    """A text to measure on.

    Args:
        corpus: The text that is left after cleaning.
        cleaned: What was found and dropped.
        digest: SHA-256 of the text before anything was dropped.
        split: Part, seed and digest of the split that the text belongs to; empty for a whole text.
    """

    corpus: Corpus
    cleaned: Cleaned
    digest: str
    split: dict[str, Any] = field(default_factory=dict)

    @property
    def details(self) -> dict[str, Any]:
        """What a row records about its text besides the protocol."""
        return {"overlap": self.cleaned.report, "text": self.digest, "split": self.split}


def read_text(
    loaded: LoadedModel,
    ref: str,
    part: TextPart,
    text_split: int,
    resources: Resources,
    *,
    seed: int = 0,
) -> Text:
    """Read a corpus or a part of it; a look at sealed text is recorded before it is returned.

    Windows are spread over all documents. Where papers report figures on a whole text, its first
    windows are taken, as in the papers.
    """
    corpus = load_corpus(ref, cache=resources.cache, tokenizer=loaded.tokenizer).measures()
    whole, drawn, splits = corpus.digest, {}, None
    if part != "all":
        splits = split(corpus, text_split)
        corpus = getattr(splits, part)
        drawn = {"part": part, "seed": text_split, "digest": splits.digest}
    elif not corpus.test:
        corpus = corpus.spread_by(f"{seed} whole")
    if part in ("all", "sealed"):
        resources.look(corpus.digest, whole, splits)
    found = clean(corpus.documents, resources, what=f"the text {corpus.name!r}")
    return Text(found.left(corpus), found, corpus.digest, drawn)


def not_enough(text: Text, error: UsageError) -> UsageError | ContaminationError:
    """The error for a text that is too short: contamination if seen text was dropped from it."""
    if not text.cleaned.dropped:
        return error
    checked = text.cleaned.report["checked"]
    return ContaminationError(
        f"{text.cleaned.dropped} of {checked} parts of {text.corpus.name!r} are text the model was "
        f"calibrated on, and without them {error}"
    )


def read_each(
    refs: Sequence[str], resources: Resources, read: Callable[[str], Read]
) -> tuple[list[Read], Lacking]:
    """Apply ``read`` to each reference, and collect the reason for each that is unavailable."""
    found: list[Read] = []
    lacking: Lacking = {}
    for ref in dict.fromkeys(refs):
        try:
            found.append(read(ref))
        except PrerequisiteError as error:
            lacking[ref] = error
        except ContaminationError as error:
            if resources.overlap == "refuse":
                raise
            # Nothing is left of this text; the others are still measured.
            lacking[ref] = error
    return found, lacking


def distinct_names(texts: Sequence[Text]) -> list[Text]:
    """Add the start of its digest to texts of the same file name, to keep row names unique."""
    names = Counter(text.corpus.name for text in texts)
    return [text if names[text.corpus.name] == 1 else _by_digest(text) for text in texts]


def _by_digest(text: Text) -> Text:
    name = f"{text.corpus.name} {text.digest[:8]}"
    return replace(text, corpus=replace(text.corpus, name=name))


def missing_rows(lacking: Lacking, metric: str, context: RowContext) -> list[Row]:
    """A row for each unavailable text; a prerequisite such as the network may come back."""
    return [
        context.missing(
            ref, metric, str(why), details={PASSING: isinstance(why, PrerequisiteError)}
        )
        for ref, why in lacking.items()
    ]
