"""A cell of a comparison whose method makes the model smaller."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking, shrunken
from autoprune.digest import digest_json
from autoprune.models.saved_type import checkpoint_type
from autoprune.schemes import skipped_computations
from autoprune.schemes.card import removed

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench
    from autoprune.comparison.plan import Cell

UNITS = "units_digest"


def same_removed(record: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether masks, or what a scheme removed, are those of a kept cell."""
    # Units say it alone: with them, the other digest holds the seed, also where it decides nothing.
    name = UNITS if UNITS in known else "mask_digest"
    return bool(record.get(name) == known[name])


@contextmanager
def shrunk(bench: "ComparisonBench", cell: "Cell") -> Iterator[dict[str, Any]]:
    """Let the bench hold a smaller copy of its model, in its real shapes, inside the body."""
    method, target = cell.method, cell.target
    assert method is not None and target is not None
    how = Shrinking.parse(method.scheme)
    asked = SchemeBudget(target.budget, checkpoint_type(bench.loaded.source))
    draw, precision = bench.draw_of(cell), bench.precision
    with shrunken(bench, how, asked, draw, seed=bench.chance(cell), precision=precision) as made:
        found = made.to_json()
        notes = [f"{name}: {text}" for name, text in removed(found)] + list(made.notes)
        kept = notes[:5]
        yield {
            "zeros": 0,
            "prune_seconds": made.seconds,
            # Counts of units, as in the first cells; which units they are is kept separately.
            "mask_digest": digest_json([found["steps"], bench.chance(cell)]),
            UNITS: digest_json(made.plan.units),
            "facts": found["facts"],
            "notes": kept,
            "note_count": len(notes),
        }
        skipped = skipped_computations(bench.loaded.model)
        if skipped is not None:
            # How many are skipped depends on the text: known once everything is measured.
            kept.insert(0, skipped.text)
