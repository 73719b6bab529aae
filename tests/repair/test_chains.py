"""Chains of repairs in which a part's work would be lost are refused, with an order or the rest."""

import pytest

from autoprune.errors import UsageError
from autoprune.repair import Repair


@pytest.mark.parametrize(
    ("text", "lost", "order"),
    [
        ("mrp+sparseswaps", "mrp", "sparseswaps+mrp"),
        ("mrp+dsnot+sparseswaps", "mrp", "dsnot+sparseswaps+mrp"),
        ("sparsegpt+mrp:damp=0.02", "sparsegpt", "mrp:damp=0.02"),
        ("alps+sparseswaps", "alps", "sparseswaps+alps"),
        ("none+mrp", "none", "mrp"),
        ("dsnot+none", "none", "dsnot"),
    ],
)
def test_a_chain_that_would_lose_a_parts_work_names_the_order(
    text: str, lost: str, order: str
) -> None:
    for whole in (text, f"walk:{text}", f"{text}+ebft"):
        with pytest.raises(UsageError, match=f"lose what '{lost}' does") as error:
            Repair.parse(whole)
        assert str(error.value).endswith(f": {order}")
        Repair.parse(order)


@pytest.mark.parametrize(
    ("text", "lost", "rest"),
    [
        ("dsnot+mrp:select=own", "dsnot", "mrp:select=own"),
        ("sparseswaps+mrp:select=own", "sparseswaps", "mrp:select=own"),
        ("alps+sparsegpt:select=own", "alps", "sparsegpt:select=own"),
        ("mrp:select=own+sparsegpt:select=own", "mrp:select=own", "sparsegpt:select=own"),
        ("dsnot+mrp:select=own+sparsegpt", "dsnot", "mrp:select=own+sparsegpt"),
        (
            "dsnot+sparsegpt:select=own+mrp:select=own",
            "dsnot",
            "sparsegpt:select=own+mrp:select=own",
        ),
    ],
)
def test_a_mask_that_a_later_part_replaces_unread_is_refused(
    text: str, lost: str, rest: str
) -> None:
    for whole in (text, f"walk:{text}", f"{text}+ebft"):
        with pytest.raises(UsageError, match=f"lose what '{lost}' does, since") as error:
            Repair.parse(whole)
        assert str(error.value).endswith(f"number of zeros; write {rest}")
        # Which may move zeros between rows, for the next part to keep.
        Repair.parse(rest)
