"""Named comparisons."""

from dataclasses import dataclass

from autoprune.errors import UnknownNameError


@dataclass(frozen=True)
class ComparisonDefaults:
    """Defaults of a comparison, which options on the command line override.

    Args:
        methods: Texts of the methods.
        sparsities: Unstructured budgets.
        patterns: N:M budgets.
        seeds: Calibration draws.
        tune: Selection trials for the strength of each allocator.
    """

    methods: tuple[str, ...]
    sparsities: tuple[float, ...]
    patterns: tuple[str, ...]
    seeds: int
    tune: int


# The table of the results, with the best repair.
PAPER = (
    "magnitude",
    "wanda",
    "ria",
    "wanda+owl",
    "wanda+alpha",
    "wanda+dlp",
    "wanda+sdsa",
    "wanda+ramp",
    "wanda+dsnot",
    "sparsegpt",
    "wanda+mrp",
    "wanda+ramp+mrp",
    "wanda+ramp+walk:mrp",
    "wanda+ramp+ebft",
    # The best repair, with the equal budgets that suit it, and after masks chosen by SparseGPT.
    "wanda+ebft",
    "wanda+sparsegpt:select=own+ebft",
    "wanda+sequential",
    "sparsegpt+sequential",
)
MORE = (
    "random",
    "gblm",
    "wanda+sdsa+mrp",
    "sparsegpt+ramp",
    "wanda+walk:mrp",
    "wanda+sparseswaps",
    "wanda+alps",
    "wanda+ramp+mrp+ebft",
)

PRESETS = {
    # Ten minutes for SmolLM2-135M on 2 cores; the hours below are for the same machine.
    "quick": ComparisonDefaults(
        methods=("magnitude", "wanda", "ria", "wanda+sdsa", "wanda+ramp", "wanda+ramp+mrp"),
        sparsities=(0.5, 0.6),
        patterns=(),
        seeds=1,
        tune=0,
    ),
    # The value of spectrum-based budgets at high sparsity: AlphaPruning's own setting.
    "alpha80": ComparisonDefaults(
        methods=(
            "wanda",
            "wanda+alpha",
            "wanda+ramp",
            "sparsegpt",
            "sparsegpt+alpha",
        ),
        sparsities=(0.8,),
        patterns=(),
        seeds=3,
        tune=0,
    ),
    # MRP's own masks next to given ones: SM for unstructured masks, MM at N:M (arXiv 2410.15567).
    "mrp": ComparisonDefaults(
        methods=(
            "wanda",
            "wanda+mrp",
            "wanda+mrp:select=own",
            "sparsegpt",
            "wanda+sparsegpt:select=own+mrp",
        ),
        sparsities=(0.5,),
        patterns=("2:4",),
        seeds=3,
        tune=0,
    ),
    # Six hours, mostly for repairs.
    "paper": ComparisonDefaults(
        methods=PAPER, sparsities=(0.5, 0.6, 0.7), patterns=("2:4",), seeds=3, tune=4
    ),
    # Ten hours.
    "full": ComparisonDefaults(
        methods=PAPER + MORE, sparsities=(0.5, 0.6, 0.7), patterns=("2:4",), seeds=3, tune=4
    ),
}


def preset(name: str) -> ComparisonDefaults:
    """Return the preset of this name."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]
