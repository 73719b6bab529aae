"""What all parameter objects share: frozen, checked, in one order, and silent about logins."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from autoprune.errors import UsageError

LOGIN = r"(://|')[^/\s'\"]*@"


def _in_order(schema: dict[str, Any]) -> None:
    # The form sorts fields by name unless told.
    for position, field in enumerate(schema.get("properties", {}).values()):
        field.setdefault("position", position)


class Params(BaseModel):
    """Base of all parameter objects: frozen, and unknown fields are refused.

    In Prefect's form the fields stand in the order in which they are written.
    """

    # Whoever shows what was refused leaves out logins; pydantic's own text would not.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=_in_order
    )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return self.model_dump(mode="json")


def checked(kind: type[Params], values: dict[str, Any]) -> Any:
    """Build a parameter object; all wrong fields are named in one error.

    Raises:
        UsageError: If a value is outside what the field allows.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(one_paragraph(error)) from error


def one_paragraph(error: ValidationError) -> str:
    """A pydantic error as one paragraph for people."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"]) or "parameters"
        shown = re.sub(LOGIN, r"\1***@", repr(fault["input"]))
        faults.append(f"{place} = {shown}: {fault['msg']}")
    return "; ".join(faults) + "; correct the option and run the command again"
