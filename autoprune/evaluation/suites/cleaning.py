"""Drop what the model has seen: check test text and test items against its fingerprint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from autoprune.text.hygiene import SIZES, ContaminationError
from autoprune.text.seen_text import SeenText, referenced_text

if TYPE_CHECKING:
    from autoprune.store import Store
    from autoprune.text.corpus import Corpus
    from autoprune.text.splits import Splits

Policy = Literal["drop", "refuse", "report"]
ITEM_WORDS, TEXT_WORDS = SIZES
# Any two long texts share some phrase. Running text counts as seen if more than one in a hundred of
# a document's n-grams were, at least a run of twelve words; a short document if all were.
_TEXT_SHARE = 0.01
_TEXT_LEAST = 3
# A long calibration text may hold a whole held-out document within that share: a passage of 59
# words is too much, however long the text around it.
_MADE_MOST = 50


def _uncounted(text: str, whole: str, splits: "Splits | None" = None) -> None:
    """Do nothing: looks at a text are not counted."""


def _anew(name: str, make: Callable[[], list[Any]]) -> list[Any]:
    """Call ``make``: no results of an interrupted suite are kept."""
    return make()


@dataclass(frozen=True)
class Resources:
    """What a suite may use besides the model.

    Args:
        cache: Keeps windows and cleaned text.
        seen: Fingerprint of the text the model was made with; None when nothing is known.
        overlap: What happens to test text that was seen: it is dropped, it is only reported, or the
            run is refused at the first 10 shared words (8 for items; a shorter text counts as a
            whole).
        look: Called before measuring on a sealed text, or on a corpus that holds one, with its
            digest, that of the whole corpus and, for a sealed part, the split that it belongs to.
        keep: Returns the stored result, plain JSON, of a named part of an interrupted suite; makes
            the part if nothing is stored.
    """

    cache: "Store | None" = None
    seen: SeenText | None = None
    overlap: Policy = "drop"
    look: Callable[..., None] = _uncounted
    keep: Callable[[str, Callable[[], list[Any]]], list[Any]] = _anew


NO_RESOURCES = Resources()


@dataclass(frozen=True)
class Cleaned:
    """What is left and what was found.

    Args:
        kept: Indices of the texts to use, in order.
        report: For the record: texts checked, texts that share 8 and 10 words, texts dropped.
    """

    kept: tuple[int, ...]
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Number of texts left out."""
        return int(self.report.get("dropped", 0))

    def left(self, corpus: "Corpus") -> "Corpus":
        """What is left of the corpus whose documents were checked."""
        if not self.dropped:
            return corpus
        return corpus.subset(self.kept)


def clean(
    texts: Sequence[str],
    resources: Resources,
    *,
    what: str,
    items: bool = False,
    made: bool = False,
) -> Cleaned:
    """Check test texts against what the model has seen."""
    everything = tuple(range(len(texts)))
    if resources.seen is None:
        return Cleaned(everything, {"checked": 0, "note": "no record of the calibration text"})
    counts = {n: resources.seen.shared(texts, n) for n in SIZES}
    deciding = counts[ITEM_WORDS if items else TEXT_WORDS]
    touched = [number for number, (hits, _) in enumerate(deciding) if hits]
    seen = {number for number in touched if items or _is_seen(*deciding[number], made=made)}
    report: dict[str, Any] = {
        "checked": len(texts),
        **{f"shared_{n}": sum(hits > 0 for hits, _ in found) for n, found in counts.items()},
        "contaminated": len(seen),
        "dropped": len(seen) if resources.overlap == "drop" else 0,
        "policy": resources.overlap,
    }
    if resources.overlap == "refuse" and touched:
        raise ContaminationError(
            f"{len(touched)} of {len(texts)} parts of {what} share "
            f"{ITEM_WORDS if items else TEXT_WORDS} words or more, or all they have, with the text "
            "a model was calibrated on or a reference holds; measure on other text, or use "
            "--overlap drop to leave them out"
        )
    if resources.overlap != "drop":
        return Cleaned(everything, report)
    if texts and len(seen) == len(texts) and made:
        raise ContaminationError(
            f"all {len(texts)} parts of {what} occur in the held-out text, so nothing is left to "
            "calibrate on; take another --corpus"
        )
    if texts and len(seen) == len(texts):
        raise ContaminationError(
            f"all {len(texts)} parts of {what} are text that a model was calibrated on or a "
            "reference holds, so a figure on them says nothing; measure on other text, or use "
            "--overlap report to see it anyway"
        )
    return Cleaned(tuple(number for number in everything if number not in seen), report)


def without_text(
    corpus: "Corpus", held_out: Sequence[str], store: "Store", tokenizer: Any
) -> "tuple[Corpus, dict[str, Any]]":
    """Remove from calibration text what figures will be measured on."""
    if not held_out:
        return corpus, {"checked": 0, "note": "no held-out text was named"}
    resources = Resources(store, referenced_text(held_out, store, tokenizer))
    found = clean(
        corpus.documents, resources, what=f"the calibration text {corpus.name!r}", made=True
    )
    return found.left(corpus), found.report


def _is_seen(hits: int, grams: int, *, made: bool) -> bool:
    share = hits >= _TEXT_LEAST and hits > _TEXT_SHARE * grams
    return 0 < hits == grams or share or (made and hits >= _MADE_MOST)
