"""What all parameter objects share: frozen, validated, ordered, and silent about logins."""

import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoprune.errors import UsageError

LOGIN = r"(://|')[^/\s'\"]*@"
PATTERN_FAULT = "string_pattern_mismatch"


def setting(
    default: Any = None, description: str | None = None, *, group: str = "", **rules: Any
) -> Any:
    """Declare a field that is also an option of the command line."""
    names = ("metavar", "repeat", "positional", "word", "option", "both", "unset", "form")
    own: dict[str, Any] = {key: rules.pop(key) for key in names if key in rules}
    if group:
        own["group"] = group
    if description is not None:
        rules["description"] = description
    return Field(default=default, json_schema_extra=own or None, **rules)


def _in_order(schema: dict[str, Any], kind: type["Params"]) -> None:
    # The form sorts fields by name unless they have positions.
    fields = schema.get("properties", {})
    schema["properties"] = {name: fields[name] for name in kind.in_order() if name in fields}
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position


class Params(BaseModel):
    """Base of all parameter objects: frozen, and unknown fields are refused.

    In Prefect's form and in ``--help`` the fields stand in the order of :meth:`in_order`.
    """

    # Errors are shown without logins; pydantic's own text would include them.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=_in_order
    )
    # Earlier name to field. Recorded runs and schedules use them; the command line refuses them.
    RENAMED: ClassVar[dict[str, str]] = {}
    # Field to its name in records and in what names of runs are made from, if that is another.
    RECORDED_AS: ClassVar[dict[str, str]] = {}
    # Fields added later, left out of records while they have their default: names made from what
    # is recorded then stay what they were.
    LATER: ClassVar[tuple[str, ...]] = ("device",)
    # Fields that come first; the others follow in source order, inherited ones before own.
    FIRST: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_names(cls, values: Any) -> Any:
        return cls.with_todays_names(values) if isinstance(values, dict) else values

    @classmethod
    def with_todays_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with names of earlier versions replaced."""
        found = dict(values)
        for earlier, name in cls.RENAMED.items():
            if earlier in found and name in found:
                raise ValueError(
                    f"{earlier} is now {name}, and both are given; leave out {earlier}"
                )
            if earlier in found:
                found[name] = found.pop(earlier)
        return found

    @classmethod
    def in_order(cls) -> list[str]:
        """Return the names of the fields, in the order in which people see them."""
        return list(dict.fromkeys((*cls.FIRST, *cls.model_fields)))

    def check(self) -> None:
        """Refuse unknown names before anything is started or created."""

    def command_line(self, command: str, places: Collection[str]) -> str:
        """Return the shell line for the same request, without values that equal the defaults."""
        words, options = ["autoprune", command], list[str]()
        for name in self.in_order():
            field = type(self).model_fields[name]
            value, extra = getattr(self, name), field.json_schema_extra
            known = extra if isinstance(extra, dict) else {}
            dashed = name.replace("_", "-")
            if known.get("positional"):
                words.append(str(value))
            elif name in places or value in (None, field.default):
                continue
            elif isinstance(value, bool):
                options.append(f"--{dashed}" if value else f"--no-{dashed}")
            elif known.get("repeat"):
                options += [word for item in value for word in (f"--{dashed}", str(item))]
            else:
                several = isinstance(value, list | tuple)
                options += [f"--{dashed}", ",".join(map(str, value)) if several else str(value)]
        return shlex.join(words + options)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return self.model_dump(mode="json")

    def recorded(self) -> dict[str, Any]:
        """Plain JSON form under the names used in records."""
        fields = type(self).model_fields
        return {
            self.RECORDED_AS.get(name, name): value
            for name, value in self.to_json().items()
            if not (name in self.LATER and value == fields[name].default)
        }


Checked = TypeVar("Checked", bound=Params)


def checked(kind: type[Checked], values: dict[str, Any]) -> Checked:
    """Build a parameter object; one error names all wrong fields."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(one_paragraph(error, kind)) from error


def one_paragraph(error: ValidationError, kind: type[BaseModel]) -> str:
    """Format a pydantic error as one paragraph for people."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"])
        shown = re.sub(LOGIN, r"\1***@", repr(fault["input"]))
        # An error about several fields together names them itself.
        head = f"{place} = {shown}: " if place else ""
        form = _form(kind, fault["loc"]) if fault["type"] == PATTERN_FAULT else ""
        faults.append(head + (form or fault["msg"].removeprefix("Value error, ")))
    return "; ".join(faults) + "; correct the option and run the command again"


def _form(kind: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """How the text of a field is written; empty if the field does not tell."""
    field = kind.model_fields.get(str(place[0]))
    if field is None:
        return ""
    inner = field.annotation
    if len(place) > 1 and isinstance(inner, type) and issubclass(inner, BaseModel):
        return _form(inner, place[1:])
    extra = field.json_schema_extra
    return f"write {extra['form']}" if isinstance(extra, dict) and "form" in extra else ""
