"""Grammar of ``autoprune prune``."""

import argparse
from typing import Any

from autoprune.errors import UsageError
from autoprune.quality import USUAL_MINUTES
from flows.prune.params import RECIPE, PruneParams
from flows.terminal.options import MODEL, add_options, given_with_model, settled

DESCRIPTION = """\
Prune a model: calibrate, score every weight, distribute the budget, remove
exactly that many weights, and save. The saved folder opens with
AutoModelForCausalLM.from_pretrained.

Without any part of a recipe (metric, allocation, group, repair, statistics),
use the best preset that fits ten minutes, after printing what it will cost. A
metric in a .py file and a program (--program FILE.py) run only inside the
container.

With --scheme, remove blocks, neurons and heads instead: the result is a smaller
dense model without zeros. It needs no special kernels to be faster; with experts
removed, it is smaller only.
"""
EXAMPLE = (
    "autoprune prune ./my-model --metric 'expr:abs(W) * x_norm' --sparsity 0.6 "
    "--corpus text.txt --out pruned"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, PruneParams, required=MODEL)


def read(args: argparse.Namespace) -> PruneParams:
    """The parameters that were typed, or a preset's time; every name in them exists."""
    return settled(PruneParams, _with_usual(given_with_model(args, PruneParams)))


def _with_usual(typed: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed; without any part of a recipe, add a preset's time limit."""
    own = [f"--{name}" for name in ("program", *RECIPE) if name in typed]
    chooses = [f"--{name}" for name in ("quality", "minutes") if name in typed]
    if own and chooses:
        raise UsageError(
            f"{' and '.join(chooses)} chooses a recipe and {', '.join(own)} is a part of one; "
            f"leave out {' and '.join(chooses)} or {', '.join(own)}"
        )
    if own or chooses or any(typed.get(name) for name in ("stream", "dry_run", "scheme")):
        return typed
    return typed | {"minutes": USUAL_MINUTES}
