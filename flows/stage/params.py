"""Parameters of the flow of one stage of a search."""

from typing import Literal

from pydantic import model_validator

from flows.params.base import Params, setting
from flows.params.fields import Device

StageName = Literal["calibrate", "design", "validate", "measure", "seal", "register"]


class StageParams(Params):
    """One stage of a search that is there already: what is open of it, or done once more."""

    run: str | None = setting(None, "Name of the search (default: the latest)", metavar="RUN")
    stage: StageName = setting(
        "measure",
        "calibrate: collect the statistics again; design: ask the open questions; validate, "
        "measure: do open work, else repeat the winner; seal: make the final measurement; "
        "register: save and register the winner in MLflow",
    )
    candidate: str | None = setting(
        None,
        "Candidate or start, such as C3, that validate or measure repeats and compares with the "
        "record",
        metavar="NAME",
    )
    look_again: bool = setting(
        False, "With seal: look at the sealed text again and compare; the ledger counts the look"
    )
    device: Device = setting(
        None,
        "Device of torch to compute on, such as cpu or cuda:1 (default: that which the search was "
        "started with)",
        metavar="NAME",
    )

    @model_validator(mode="after")
    def _check_together(self) -> "StageParams":
        if self.candidate is not None and self.stage not in ("validate", "measure"):
            raise ValueError(f"the stage {self.stage} is of the whole search; leave out candidate")
        if self.look_again and self.stage != "seal":
            raise ValueError(f"the stage {self.stage} reads no sealed text; leave out look_again")
        return self
