"""The manual's table of families is what the tests of the families find."""

from pathlib import Path

from autoprune.models.structure import prunable_linears
from tests.support.tiny_models import FAMILIES, tiny_model

MANUAL = Path(__file__).parents[2] / "docs" / "families.md"


def family_row(family: str) -> str:
    """Family, class, matrices that are pruned, matrices that are left alone."""
    model = tiny_model(family)
    linears = prunable_linears(model)
    pruned = dict.fromkeys(
        f"{x.projection} (per expert)" if x.expert is not None else x.projection for x in linears
    )
    taken = {x.parameter for x in linears}
    alone: dict[str, None] = {}
    for name, parameter in model.named_parameters():
        if name not in taken and parameter.ndim > 1:
            parts = [part for part in name.split(".") if not part.isdigit()]
            alone[".".join(parts[-3:] if "mlp" in parts[-3:-1] else parts[-2:])] = None
    tied = model.config.tie_word_embeddings
    left = ", ".join(alone) + (" (the head is tied to it)" if tied else "")
    return f"| {family} | {type(model).__name__} | {', '.join(pruned)} | {left} |"


def test_the_table_of_families_is_true() -> None:
    rows = [family_row(family) for family in FAMILIES]
    text = MANUAL.read_text(encoding="utf-8").splitlines()
    assert [line for line in text if line.startswith("| ")][1:] == rows, "\n".join(rows)
