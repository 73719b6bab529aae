"""Options of the command line, made from the fields of a parameter model.

A field supplies all that its option needs: name, type, choices, default, description, and,
through :func:`flows.params.base.setting`, heading and placeholder. The command line, Prefect's
form and the record of a run therefore use the same names.
"""

import argparse
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Lt
from pydantic.fields import FieldInfo

from autoprune.errors import UsageError
from flows.params import Params, checked
from flows.terminal.option_types import (
    number_or_word,
    positive_number,
    separated,
    share,
    whole_number,
    word_or_form,
)

MODEL = "model"
# Options of every command (see flows.cli.parser).
SHARED = ("seed", "device")
Settled = TypeVar("Settled", bound=Params)
_WORD = "model_word"


def add_options(
    parser: argparse.ArgumentParser,
    kind: type[Params],
    *,
    required: str = "",
    words: Collection[str] = (),
    also_words: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add an option for every field; options that are not typed are absent from the result."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name in kind.in_order():
        if name in SHARED or name in words:
            continue
        field = kind.model_fields[name]
        group = _extra(field).get("group")
        if group and group not in groups:
            groups[group] = parser.add_argument_group(group)
        needed = name == required or field.is_required()
        default = None if needed else (defaults or {}).get(name, field.default)
        _add(groups[group] if group else parser, name, field, default, word=name in also_words)
    for earlier, now in kind.RENAMED.items():
        add_renamed(parser, f"--{_dashed(earlier)}", f"--{_dashed(now)}")


def given(args: argparse.Namespace, kind: type[Params]) -> dict[str, Any]:
    """Return the fields of a model that were typed."""
    found = {name: getattr(args, name) for name in kind.model_fields if hasattr(args, name)}
    found = {name: found[name] for name in found if name not in SHARED or found[name] is not None}
    return found | ({MODEL: model_of(args)} if hasattr(args, _WORD) else {})


def given_with_model(args: argparse.Namespace, kind: type[Params]) -> dict[str, Any]:
    """Return the typed fields for a command that has no model of its own."""
    return given(args, kind) | {MODEL: model_of(args)}


def model_of(args: argparse.Namespace) -> str:
    """Return the model, given as a word or as an option."""
    found = [getattr(args, name) for name in (_WORD, MODEL) if hasattr(args, name)]
    if len(found) == 1:
        return str(found[0])
    wrong = f"given twice, {found[0]!r} and {found[1]!r}" if found else "missing"
    raise UsageError(f"the model is {wrong}; write `autoprune {args.command} MODEL`")


def settled(kind: type[Settled], values: Mapping[str, Any]) -> Settled:
    """Build a command's parameters, checking every name before anything is started."""
    params = checked(kind, dict(values))
    params.check()
    return params


def add_renamed(parser: argparse.ArgumentParser, earlier: str, option: str) -> None:
    """Refuse an option's earlier spelling and name the new one; hidden from ``--help``."""

    class Renamed(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
            parser.error(f"{earlier} is now {option}")

    parser.add_argument(
        earlier, action=Renamed, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def _add(
    to: argparse._ActionsContainer, name: str, field: FieldInfo, default: Any, *, word: bool
) -> None:
    extra = _extra(field)
    typed = str(extra.get("option", _dashed(name)))
    shared: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field, default)}
    if field.annotation is bool and extra.get("both"):
        action = argparse.BooleanOptionalAction
        to.add_argument(f"--{typed}", dest=name, action=action, **shared)
        return
    if field.annotation is bool:
        on = field.default is False
        option = f"--{typed}" if on else f"--no-{typed}"
        if not on:
            shared["help"] = f"do not {shared['help']}"
        to.add_argument(option, dest=name, action="store_true" if on else "store_false", **shared)
        return
    shared |= _reading(field)
    if "choices" not in shared and "metavar" in extra:
        shared["metavar"] = extra["metavar"]
    if extra.get("word"):
        to.add_argument(name, **shared | ({} if field.is_required() else {"nargs": "?"}))
        return
    shared["required"] = field.is_required() and not (word or extra.get("positional"))
    if extra.get("repeat"):
        shared |= {"action": "append", "type": str}
        shared["help"] += "; may be given several times"
    if extra.get("positional"):
        to.add_argument(f"{name}_word", nargs="?", metavar=extra["metavar"],
                        default=argparse.SUPPRESS, help=shared["help"])  # fmt: skip
    if word or extra.get("positional"):
        shared["help"] = f"the same as {extra['metavar']}"
    to.add_argument(f"--{typed}", dest=name, **shared)


def _reading(field: FieldInfo) -> dict[str, Any]:
    """Return how to parse an option's text: ``choices`` or ``type``, and a placeholder."""
    kind, rules = _plain(field.annotation)
    rules = [*rules, *field.metadata]
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) in (list, tuple):
        item, of_item = _plain(get_args(kind)[0])
        return {"type": separated(_reader(item, of_item)), "metavar": "LIST"}
    if get_origin(kind) in (Union, types.UnionType):
        choices = [part for part in get_args(kind) if get_origin(part) is Literal]
        words = [word for part in choices for word in get_args(part)]
        forms = [form for part in get_args(kind) for form in _examples(part)]
        if forms:
            return {"type": word_or_form(words, forms), "metavar": "|".join([*words, *forms])}
        return {"type": number_or_word(words), "metavar": "|".join(["N", *words])}
    reader = _reader(kind, rules)
    return {"type": reader} | ({} if kind is str else {"metavar": "N"})


def _reader(kind: Any, rules: Collection[Any]) -> Callable[[str], Any]:
    lowest = next((rule.ge for rule in rules if isinstance(rule, Ge)), None)
    below_one = any(isinstance(rule, Lt) and rule.lt == 1.0 for rule in rules)
    if kind is int:
        return positive_number if lowest else whole_number
    if kind is float:
        return share if below_one else float
    return str


def _plain(kind: Any) -> tuple[Any, list[Any]]:
    """Return a type without None and annotations, and the constraints from the annotations."""
    rules: list[Any] = []
    while True:
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            for note in notes:
                rules += note.metadata if isinstance(note, FieldInfo) else [note]
        elif get_origin(kind) in (Union, types.UnionType):
            parts = [part for part in get_args(kind) if part is not type(None)]
            if len(parts) > 1:
                return kind, rules
            (kind,) = parts
        else:
            return kind, rules


def _examples(kind: Any) -> list[str]:
    """Return the forms of text that a field takes besides its fixed words."""
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    found = [note.examples or [] for note in notes if isinstance(note, FieldInfo)]
    return [str(form) for examples in found for form in examples]


def _help(field: FieldInfo, default: Any) -> str:
    text = field.description or ""
    text = text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
    if default not in (None, "", ()) and not isinstance(default, bool) and "default" not in text:
        text += f" (default {default})"
    if default is None and "unset" in _extra(field):
        text += f" (default: {_extra(field)['unset']})"
    return text.replace("%", "%%")


def _extra(field: FieldInfo) -> dict[str, Any]:
    found = field.json_schema_extra
    return found if isinstance(found, dict) else {}


def _dashed(name: str) -> str:
    return name.replace("_", "-")
