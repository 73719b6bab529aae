"""A sealed set, and how often it was looked at before the reported figures."""

from dataclasses import dataclass

from autoprune.report.parts import Part

OPTION = "--text-split"
FRESH = "fresh"


@dataclass(frozen=True)
class SealedSet(Part):
    """The sealed part of one split of a text, according to the ledger of looks.

    Args:
        number: Seed of the split; the number used to request the set.
        corpus: Name of the text.
        digest: SHA-256 of the sealed part.
        earlier: Looks at it before this command's own, including looks at the whole text.
        whole: Number of these that were at the whole text.
        documents: Documents of the set.
        shared: Documents that were in sealed text, of this or another set, that was looked at
            before.
        unlisted: Earlier looks at other sets of the same text whose documents are not on record;
            with any, ``shared`` may be too small.
    """

    number: int
    corpus: str
    digest: str
    earlier: int = 0
    whole: int = 0
    documents: int = 0
    shared: int = 0
    unlisted: int = 0

    @property
    def title(self) -> str:
        """``sealed set 3, 2 earlier looks``."""
        return f"sealed set {self.number}, {looks(self.earlier)}"

    @property
    def sharing(self) -> str:
        """How much of it was read before, in any set; empty if nothing was."""
        if not self.shared and not self.unlisted:
            return ""
        least = "at least " if self.unlisted and self.shared < self.documents else ""
        return (
            f"{least}{self.shared} of its {self.documents} documents stood in sealed text that was "
            "looked at before"
        )

    @property
    def facts(self) -> str:
        """Title, how many looks were at the whole text, and what is shared."""
        text = self.title
        if self.whole:
            text += f" ({self.whole} at the whole text)"
        return text + (f"; {self.sharing}" if self.sharing else "")

    @property
    def warning(self) -> str:
        """Warning to print before using a set with earlier looks; empty without any."""
        if not self.earlier:
            return ""
        times = "once" if self.earlier == 1 else f"{self.earlier} times"
        return (
            f"sealed set {self.number} of {self.corpus} was looked at {times} before, so its "
            f"figures are not a first look; next: {OPTION} {FRESH} takes a set that nobody "
            "looked at"
        )


def looks(count: int) -> str:
    """``no earlier look``, ``1 earlier look``, ``2 earlier looks``."""
    return f"{count or 'no'} earlier look{'s' if count > 1 else ''}"
