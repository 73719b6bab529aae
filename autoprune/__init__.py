"""AutoPrune: prune language models with exact budgets, compare methods, search recipes.

Public API: :func:`load`, :func:`prune`, :func:`inspect_model`, :func:`export_gguf`,
:class:`Bench`, :class:`Recipe`, :class:`Budget`, :func:`train_verifier`, :func:`open_verifier`.
These names are imported on first use, so ``import autoprune`` loads neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from autoprune.lazy import lazily

if TYPE_CHECKING:
    from autoprune.api import Pruned, Smaller, load, prune
    from autoprune.bench.bench import Bench
    from autoprune.bench.inspection import inspect_model
    from autoprune.budget import Budget
    from autoprune.models.gguf_writing import export_gguf
    from autoprune.recipe import Recipe
    from autoprune.verify import open_verifier, train_verifier

__version__ = "0.2.0"

__all__ = [
    "Bench",
    "Budget",
    "Pruned",
    "Recipe",
    "Smaller",
    "__version__",
    "export_gguf",
    "inspect_model",
    "load",
    "open_verifier",
    "prune",
    "train_verifier",
]

_PLACES = {
    "Bench": "autoprune.bench.bench",
    "Budget": "autoprune.budget",
    "Pruned": "autoprune.api",
    "Recipe": "autoprune.recipe",
    "Smaller": "autoprune.api",
    "export_gguf": "autoprune.models.gguf_writing",
    "inspect_model": "autoprune.bench.inspection",
    "load": "autoprune.api",
    "open_verifier": "autoprune.verify",
    "prune": "autoprune.api",
    "train_verifier": "autoprune.verify",
}

__getattr__ = lazily(__name__, _PLACES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
