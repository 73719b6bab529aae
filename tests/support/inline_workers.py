"""Workers of a search in the tests' own process."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tasks import remote


class Inline:
    """Workers without a cluster: what they are given is done when its answer is taken.

    Answers come last first.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.config: Any = None

    @contextmanager
    def started(self, *place: Any) -> Iterator["Inline"]:
        """In place of :func:`flows.runners.workers`."""
        self.config = place[-1]
        try:
            yield self
        finally:
            remote._close()

    def run(self, jobs: Sequence[tuple[Any, str, str, list[Any]]]) -> Iterator[tuple[Any, Any]]:
        """As :meth:`flows.runners.Workers.run`; a job goes and comes as JSON."""
        for name, call, step, arguments in reversed(jobs):
            self.done.append(step)
            job = {"call": call, "step": step, "arguments": arguments, "bench": self.config}
            yield name, json.loads(json.dumps(remote.run_job(json.loads(json.dumps(job)))))
