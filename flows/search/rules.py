"""Which settings of a search go together."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from autoprune.design.kinds import SILENT
from autoprune.spelling import split_list
from flows.params.fields import require_alone
from flows.search.prices import Price

# Code is longer than a formula, and so is the prompt that asks for it.
PYTHON_ANSWERS = {"answer_tokens": 800, "prompt_tokens": 1600}
# If tokens are cheap, words and repairs are explained and more of the past is shown; a
# designer that answers in files reads most. The page on programs alone takes about 1,200 tokens.
LARGE_PROMPTS = {
    "openai": {"prompt_tokens": 2400},
    "files": {"answer_tokens": 2000, "prompt_tokens": 4000},
}
PROGRAM_ANSWERS = {"answer_tokens": 2000, "prompt_tokens": 6000}
# A scheme may list a share for each block.
RATED_ANSWERS = {"answer_tokens": 600, "prompt_tokens": 1600}


def usual_sizes(designer: str, language: str, *, rated: bool = False) -> dict[str, Any]:
    """Return the token limits of prompts and answers that differ from the library's defaults."""
    sizes: dict[str, Any] = dict(PYTHON_ANSWERS) if language != "expression" else {}
    sizes |= RATED_ANSWERS if rated else {}
    sizes |= LARGE_PROMPTS.get(designer, {})
    return sizes | (PROGRAM_ANSWERS if language == "program" else {})


class _DesignerChoice(Protocol):
    """The fields of :class:`flows.search.params.SearchParams` that these rules read."""

    # Read only: settings are frozen.
    @property
    def designer(self) -> str: ...
    @property
    def designer_kind(self) -> str: ...
    @property
    def designer_model(self) -> str | None: ...
    @property
    def models(self) -> Sequence[str]: ...
    @property
    def script(self) -> str | None: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def answer_tokens(self) -> int | None: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def hints(self) -> bool: ...
    @property
    def facts(self) -> str | None: ...
    @property
    def wait(self) -> bool: ...
    @property
    def money(self) -> float | None: ...
    @property
    def price(self) -> str | None: ...
    @property
    def prices(self) -> Mapping[str, Price]: ...
    @property
    def price_of_all(self) -> Price | None: ...


def require_first_rung(windows: int, all_windows: int) -> None:
    """Refuse a first rung of more windows than there are."""
    if windows > all_windows:
        raise ValueError(
            f"rung_windows {windows} is above selection_windows {all_windows}; take at most "
            f"{all_windows}, or raise --selection-windows"
        )


def require_sandbox_for_code(sandbox: str, language: str) -> None:
    """Refuse code where there is no sandbox to run it in."""
    if sandbox == "off" and language != "expression":
        raise ValueError(
            f"language {language} is code, which runs only in the sandbox; leave out sandbox off, "
            "or take language expression"
        )


def require_designer_together(params: _DesignerChoice) -> None:
    """Refuse settings that the chosen designer does not use."""
    kind = params.designer
    if kind == "scripted" and params.script is None:
        raise ValueError("the designer scripted needs a script; add --script FILE")
    if kind != "scripted" and params.script is not None:
        raise ValueError(
            f"the designer {kind} takes no script; leave script out, or choose scripted"
        )
    if params.base_url is not None and kind not in ("auto", "openai"):
        raise ValueError(
            f"the designer {kind} asks no endpoint; choose openai, or leave out base_url"
        )
    if (params.answer_tokens, params.prompt_tokens) != (None, None) and kind in SILENT:
        raise ValueError(
            f"the designer {kind} writes no answers; choose another, or leave out answer_tokens "
            "and prompt_tokens"
        )
    if not params.hints and kind in SILENT:
        raise ValueError(
            f"the designer {kind} is asked nothing and gets no hints; choose another, or leave out "
            "hints"
        )
    if params.designer_model is not None and kind in SILENT:
        raise ValueError(
            f"the designer {kind} is asked nothing; choose another, or leave out designer_model"
        )
    if params.designer_model is not None and kind == "self":
        raise ValueError(
            "the designer self is the target model; leave out designer_model, or choose local"
        )
    if params.designer_model is not None and not params.models:
        raise ValueError(f"designer_model {params.designer_model!r} names no model")
    if len(set(params.models)) < len(params.models):
        raise ValueError(
            f"designer_model {params.designer_model!r} names a model twice; name each once"
        )
    if params.facts is not None and kind in SILENT:
        raise ValueError(
            f"the designer {kind} is asked nothing and shown no facts; choose another, or leave "
            "out facts"
        )
    if not params.wait and params.designer_kind != "files":
        raise ValueError(
            f"the designer {kind} is never waited for; leave out no-wait, or choose files"
        )


def require_prices_together(params: _DesignerChoice) -> None:
    """Refuse a price or a limit in money that nothing is charged by."""
    if params.designer in SILENT and (params.money or params.price):
        raise ValueError(
            f"the designer {params.designer} asks nobody and costs nothing; leave out money and "
            "price"
        )
    unpriced = set(params.models) ^ set(params.prices)
    if params.prices and unpriced:
        raise ValueError(
            f"price {params.price} and designer_model {params.designer_model} do not name the same "
            f"models ({', '.join(sorted(unpriced))}); give each model a price, or one to all"
        )
    if params.money is not None and not any(params.price_of_all or ()):
        raise ValueError(
            f"money {params.money:g} needs a price above zero: --price IN,OUT, dollars per "
            "million tokens of questions and of answers; a designer of this machine has none "
            "unless you set one"
        )


class _SchemeChoice(Protocol):
    @property
    def schemes(self) -> str | None: ...
    @property
    def language(self) -> str: ...
    @property
    def pattern(self) -> str: ...
    @property
    def repairs(self) -> str: ...
    @property
    def sparsity(self) -> float | None: ...
    @property
    def bytes(self) -> float | None: ...
    @property
    def faster(self) -> float | None: ...
    @property
    def runner(self) -> str: ...


def require_schemes_together(params: _SchemeChoice) -> None:
    """Refuse settings that are meaningless if nothing is set to zero, or if zeros are."""
    unit = "bytes" if params.bytes is not None else "faster"
    asked = getattr(params, unit)
    if asked is not None and params.schemes is None:
        raise ValueError(
            f"{unit} {asked:g}: zeros bring neither fewer bytes nor speed; add --schemes "
            "depth,width"
        )
    if asked is not None and params.sparsity is not None:
        raise ValueError(
            f"sparsity {params.sparsity:g} and {unit} {asked:g} are two budgets; give one of them"
        )
    require_alone(params.faster, params.runner)
    if params.schemes is None:
        return
    if not split_list(params.schemes):
        raise ValueError(f"schemes {params.schemes!r} names none; write depth, or depth,width")
    parts = (part for text in split_list(params.repairs) for part in text.split("+"))
    names = {part.partition(":")[0].strip() for part in parts}
    wrong = [f"repairs {params.repairs}"] if names - {"auto", "none", "ebft", "recover"} else []
    wrong += [f"language {params.language}"] if params.language != "expression" else []
    wrong += [f"pattern {params.pattern}"] if params.pattern != "unstructured" else []
    if wrong:
        raise ValueError(
            f"schemes leave no zeros and are not code: leave out {', '.join(wrong)} (repairs may "
            "be none, ebft, recover and ebft+recover), or schemes"
        )
