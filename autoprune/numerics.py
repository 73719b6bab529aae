"""By which arithmetic a kept figure was made: found again only where it would come out the same."""

from importlib.metadata import version

from autoprune import __version__

# Raised when a change of the code changes a figure of a comparison: scores, budgets, masks,
# repairs, statistics, windows or losses. Figures kept under another number are measured anew.
# tests/comparison/test_numerics.py fails where that was forgotten. Statistics in the store have a
# version of their own, in their key.
NUMERICS = 3
# What computes besides our code.
PACKAGES = ("torch", "transformers")


def computed_by() -> dict[str, str]:
    """Versions that decide figures, by name: ours, :data:`NUMERICS` and those of the packages."""
    own = {"autoprune": __version__, "numerics": str(NUMERICS)}
    return own | {name: version(name) for name in PACKAGES}
