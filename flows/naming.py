"""Names of flow runs: what a run is about in short words, never a path."""

from collections.abc import Callable
from typing import TypeVar

from prefect.runtime import flow_run
from pydantic import BaseModel

Params = TypeVar("Params", bound=BaseModel)


def run_name(flow: str, kind: type[Params], tail: Callable[[Params], str]) -> Callable[[], str]:
    """What Prefect calls to name a run of a flow with one parameter ``params``.

    Args:
        flow: First word of the name.
        kind: Class of the parameters; a run from a form brings them as plain values.
        tail: The rest of the name.
    """

    def name() -> str:
        given = flow_run.parameters["params"]
        params = given if isinstance(given, kind) else kind.model_validate(given)
        return f"{flow}-{tail(params)}"

    return name
