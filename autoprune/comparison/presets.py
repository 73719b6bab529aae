"""Named comparisons."""

from dataclasses import dataclass

from autoprune.errors import UnknownNameError


@dataclass(frozen=True)
class Preset:
    """What a comparison does where the command says nothing else.

    Args:
        methods: Their texts.
        sparsities: Unstructured budgets.
        patterns: N:M budgets.
        seeds: Calibration draws.
        tune: Selection trials per allocator's strength.
    """

    methods: tuple[str, ...]
    sparsities: tuple[float, ...]
    patterns: tuple[str, ...]
    seeds: int
    tune: int


PRESETS = {
    "quick": Preset(
        methods=("magnitude", "wanda", "ria", "wanda+sdsa", "wanda+ramp", "wanda+ramp+mrp"),
        sparsities=(0.5, 0.6),
        patterns=(),
        seeds=1,
        tune=0,
    ),
    "paper": Preset(
        methods=(
            "magnitude",
            "wanda",
            "ria",
            "gblm",
            "sparsegpt",
            "wanda+sequential",
            "sparsegpt+sequential",
            "wanda+owl",
            "wanda+dlp",
            "wanda+alpha",
            "wanda+sdsa",
            "wanda+ramp",
            "wanda+dsnot",
            "wanda+mrp",
            "wanda+sdsa+mrp",
            "wanda+ramp+mrp",
            "sparsegpt+ramp",
        ),
        sparsities=(0.5, 0.6, 0.7),
        patterns=("2:4",),
        seeds=3,
        tune=4,
    ),
}


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]
