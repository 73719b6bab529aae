"""Parts that a search needs, whatever it hides or cannot combine."""

from collections.abc import Sequence
from typing import Protocol

from autoprune.design.formulas import formula_text
from autoprune.design.hiding import Hidden, require_hidable
from autoprune.design.parts import Choices
from autoprune.errors import UsageError
from autoprune.search.starts import RecipeSpec


class _Parts(Protocol):
    """What is read of a search's specification."""

    hide: tuple[str, ...]
    reference: str
    default_repair: str
    proxy: str
    schemes: tuple[str, ...]

    @property
    def language(self) -> str: ...

    @property
    def hidden(self) -> Hidden: ...

    @property
    def choices(self) -> Choices: ...

    @property
    def repairs(self) -> Sequence[str]: ...


def check_required_parts(spec: _Parts) -> None:
    """Refuse to hide what a search needs, and repairs of which none can be used."""
    try:
        require_hidable(spec.hide, spec.reference)
    except UsageError as error:
        raise ValueError(str(error)) from None
    if spec.hidden.finds(spec.default_repair, spec.proxy):
        raise ValueError(
            f"the starts have the repair {spec.default_repair}, so it cannot be hidden; hide "
            "something else, or add none to the repairs"
        )
    if not spec.schemes:
        formula = formula_text(RecipeSpec(metric=spec.reference).recipe(spec.default_repair).metric)
        if spec.hidden.finds(formula):
            raise ValueError(
                f"hide {', '.join(spec.hide)}: {spec.reference}, which changes are measured "
                f"against, is {formula}; hide something else"
            )
    if "score" in spec.hide and spec.language in ("python", "both"):
        raise ValueError(
            "hide score: Python answers define a function of this name; hide another word, or "
            "take language expression"
        )
    if not spec.choices.repairs:
        raise ValueError(
            f"repairs {', '.join(spec.repairs)}: programs move the weights themselves, so that "
            "none of these is left; add none, or ebft"
        )
