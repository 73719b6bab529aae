"""Names of flow runs: a few words on what a run does, never a path."""

from collections.abc import Callable
from typing import TypeVar

from prefect.runtime import flow_run
from pydantic import BaseModel

Params = TypeVar("Params", bound=BaseModel)


def run_name(flow: str, kind: type[Params], tail: Callable[[Params], str]) -> Callable[[], str]:
    """Return the callable by which Prefect names runs of a flow with one parameter ``params``."""

    def name() -> str:
        given = flow_run.parameters["params"]
        try:
            params = given if isinstance(given, kind) else kind.model_validate(given)
            return f"{flow}-{tail(params)}"
        except Exception:
            # Prefect would leave a run without a name running for ever; what is wrong is reported
            # by the flow itself.
            return flow

    return name
