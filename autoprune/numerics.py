"""The arithmetic behind cached figures: a figure is reused only if it would come out the same."""

from importlib.metadata import version

from autoprune import __version__

# Increase this when a code change alters a figure of a comparison: scores, budgets, masks,
# repairs, statistics, windows or losses. Figures and statistics kept under another number are made
# again. tests/comparison/test_numerics.py fails if that was forgotten. What one scheme alone gives
# has a number of its own, autoprune.schemes.Scheme.VERSION.
NUMERICS = 3
# Packages that compute figures besides our own code.
PACKAGES = ("torch", "transformers")


def computed_by() -> dict[str, str]:
    """Versions that determine figures, by name: :data:`NUMERICS` and those of the packages."""
    own = {"autoprune": __version__, "numerics": str(NUMERICS)}
    return own | {name: version(name) for name in PACKAGES}
