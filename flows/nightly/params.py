"""Parameters of the nightly flow."""

from typing import ClassVar

from pydantic import Field, model_validator

from flows.params.base import Params
from flows.promote.params import PromoteParams
from flows.search.params import SearchParams


class NightlyParams(Params):
    """Search, evaluate the winner, and promote it when the gate passes."""

    RENAMED: ClassVar[dict[str, str]] = {"evaluate_windows": "measured_windows"}

    search: SearchParams = Field(
        default=SearchParams(),
        description=(
            "The search; without a run name, each night is a new run; seed and text split 0 become "
            "the night's own number, days since 2000-01-01"
        ),
    )
    build_on: bool = Field(
        default=True,
        description=(
            "Start the search with the champion's recipe, else that of the latest winner with this "
            "model, share of zeros and pattern"
        ),
    )
    measured_windows: int = Field(
        default=100,
        ge=1,
        description=(
            "Windows for the winner's reported perplexity, spread over the night's sealed set"
        ),
    )
    promote: PromoteParams = Field(
        default=PromoteParams(),
        description=(
            "The gate; the model is the search's, and so is the text unless given, on a sealed set "
            "that nobody looked at"
        ),
    )
    promote_winner: bool = Field(
        default=True, description="Ask the gate at the end; off: the winner stays the challenger"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "NightlyParams":
        if self.promote.rollback:
            raise ValueError("a nightly run cannot roll back")
        if self.promote_winner and not self.search.register_winner:
            raise ValueError("promote_winner needs search.register_winner")
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        self.search.check()
        self.promote.check()
