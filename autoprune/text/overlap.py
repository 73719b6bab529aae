"""How much text the parts of a corpus still share, as stated in every record of a run."""

from typing import TYPE_CHECKING, Any

from autoprune.text.hygiene import check_splits
from autoprune.text.splits import NAMES

if TYPE_CHECKING:
    from autoprune.text.splits import Splits


def shared_text(splits: "Splits") -> list[dict[str, Any]]:
    """Count the documents of each part that share 8 and 10 words with another, after the drop."""
    found = check_splits({name: getattr(splits, name).documents for name in NAMES})
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "words": pair.n,
            "checked": pair.checked,
            "shared": len(pair.overlaps),
        }
        for pair in found
    ]
