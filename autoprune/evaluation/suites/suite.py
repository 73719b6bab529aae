"""The interface of a suite, the registry of suites, and their text form ``NAME:key=value,...``."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autoprune.errors import UsageError
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.rows import Row
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report
from autoprune.registry import Registry
from autoprune.textform import parameters, read_settings


class Suite(Protocol):
    """Measures a model; a frozen dataclass whose fields are its settings.

    A suite may have a method ``check(loaded, *, resources)``, which raises what :meth:`run` would
    raise for this request and this model but measures nothing; see :func:`check_suite`. It may have
    a method ``computed_with()``; see :func:`computed_with`.
    """

    @property
    def name(self) -> str:
        """Its name in the registry."""

    def run(
        self, loaded: LoadedModel, *, report: Report, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure the model and leave it unchanged.

        Args:
            loaded: The model.
            report: Callback, called with progress.
            resources: Cache, what the model has seen, and what to do about it.

        Returns:
            Rows with protocol and provenance; what could not be measured is a row with the reason.
        """


def check_suite(suite: Suite, loaded: LoadedModel, resources: Resources = NO_RESOURCES) -> None:
    """Let a suite check its request first: a wrong one must not cost other suites their figures.

    Args:
        suite: The suite; one without a ``check`` method is skipped.
        loaded: The model that it will measure.
        resources: The resources that it will get.

    Raises:
        AutopruneError: If the suite refuses the request.
    """
    check = getattr(suite, "check", None)
    if check is not None:
        check(loaded, resources=resources)


def computed_with(suite: Suite) -> dict[str, Any]:
    """What determines a suite's figures besides the model, its settings and its ``VERSION``.

    Args:
        suite: The suite; one without the method depends on nothing else.

    Returns:
        JSON values by name, such as the version of a package or the machine.
    """
    found: dict[str, Any] = getattr(suite, "computed_with", dict)()
    return found


SUITES: Registry[Callable[..., Suite]] = Registry("suite", "autoprune.suites")


def build_suite(text: str, **settings: Any) -> Suite:
    """A suite from ``NAME`` or ``NAME:key=value,key=value``; lists are written ``a+b``.

    Args:
        text: For example ``tasks:names=arc_easy+boolq,limit=100``.
        settings: Further fields of the suite; lists, as JSON has them, become tuples.

    Raises:
        UnknownNameError: If no suite has the name.
        UsageError: If a setting is unknown, not readable or not allowed.
    """
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    name, _, rest = text.strip().partition(":")
    factory = SUITES.get(name)
    if not dataclasses.is_dataclass(factory):
        return factory(**settings)
    allowed = parameters(factory)
    unknown = next((key for key in settings if key not in allowed), None)
    if unknown is not None:
        raise UsageError(
            f"suite {name!r} has no parameter {unknown!r}; allowed: {', '.join(allowed)}"
        )
    return factory(**(read_settings(f"suite {name!r}", rest, allowed) | settings))


def build_suites(text: str, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> list[Suite]:
    """Suites from a list such as ``lm,tasks:names=boolq,limit=100,cost``.

    A part ``key=value`` belongs to the suite before it.

    Args:
        text: The list.
        defaults: Settings by suite, used where the text gives none.

    Raises:
        UsageError: As :func:`build_suite`, and for an empty list.
    """
    parts = _parts(text)
    if not parts:
        raise UsageError(f"no suite in {text!r}; name at least one, for example lm,tasks")
    built = []
    for part in parts:
        name, given = _given(part)
        wanted = (defaults or {}).get(name, {})
        built.append(build_suite(part, **{k: v for k, v in wanted.items() if k not in given}))
    return built


def given_settings(text: str) -> dict[str, dict[str, str]]:
    """What a list, as for :func:`build_suites`, gives each of its suites, unread."""
    return dict(map(_given, _parts(text)))


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        setting = "=" in part and ":" not in part.partition("=")[0]
        if setting and parts:
            parts[-1] += ("," if ":" in parts[-1] else ":") + part
        else:
            parts.append(part)
    return parts


def _given(part: str) -> tuple[str, dict[str, str]]:
    name, _, rest = part.partition(":")
    pieces = (piece.partition("=") for piece in rest.split(","))
    return name.strip(), {key.strip(): value.strip() for key, _, value in pieces if key.strip()}


def suite_requests(text: str, defaults: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ``name`` and all ``settings`` of each suite of a list.

    Args:
        text: As for :func:`build_suites`, like ``defaults``.

    Raises:
        UsageError: If a suite or a setting is unknown or not allowed, or a suite is named twice.
    """
    built: list[Any] = build_suites(text, defaults)
    names = [suite.name for suite in built]
    if len(set(names)) < len(names):
        raise UsageError(f"a suite is named twice in {text!r}; name each once")
    return [{"name": suite.name, "settings": dataclasses.asdict(suite)} for suite in built]
