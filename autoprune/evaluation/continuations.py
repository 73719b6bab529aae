"""Greedy continuations of the beginnings of a few windows, for people to read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoprune.evaluation.generation import greedy_continuations

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.models.loading import LoadedModel

COUNT = 2
GIVEN_TOKENS = 24
NEW_TOKENS = 32


def continuations(loaded: "LoadedModel", windows: "Tensor") -> list[tuple[str, str]]:
    """Prompts from the first windows, with their greedy continuations."""
    prompts = windows[:COUNT, :GIVEN_TOKENS]
    new = greedy_continuations(loaded, prompts, new_tokens=NEW_TOKENS)

    def text(ids: "Tensor") -> list[str]:
        return [
            " ".join(loaded.tokenizer.decode(row, skip_special_tokens=True).split())
            for row in ids.tolist()
        ]

    return list(zip(text(prompts), text(new), strict=True))


def side_by_side(
    dense: Sequence[tuple[str, str]], pruned: Sequence[tuple[str, str]]
) -> list[dict[str, str]]:
    """Join what two models made of the same prompts, as plain JSON."""
    return [
        {"prompt": prompt, "dense": one, "pruned": other}
        for (prompt, one), (_, other) in zip(dense, pruned, strict=True)
    ]
