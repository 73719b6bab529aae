"""Base class of settings on record, some of whose fields have another name there."""

from pydantic import BaseModel, ConfigDict

# Name on record by field. Digests and names of runs follow from records, so these stay.
RECORDED = {
    "answer_tokens": "max_tokens",
    "draws": "calibration_draws",
    "repair_calls": "repairs",
    "repair": "solver",
    "default_repair": "solver",
    "repair_choices": "solvers",
}


class Recorded(BaseModel):
    """Settings that do not change and can be given by either name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: RECORDED.get(name, name),
        populate_by_name=True,
    )
