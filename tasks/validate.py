"""A metric or a program in a file, tried in the sandbox; the verdict is a value."""

import dataclasses
from pathlib import Path
from typing import Any

from autoprune.bench.scoring import OFFERED
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import LONGEST_DETAIL, UnknownNameError, UsageError
from autoprune.program_files import metric_source, prunes_blocks
from autoprune.programs import READS
from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.explain import explain
from sandbox.limits import Limits
from sandbox.outcomes import Rejected
from sandbox.probe_layers import STATISTICS
from sandbox.screen import SCORE, entry_of
from tasks.programs import SandboxPrograms
from tasks.recorded import task_run
from tasks.state import State


@task_run("validate file", "validate {path}")
def validate_file(state: State, path: str, statistics: list[str] | None = None) -> dict[str, Any]:
    """Return the sandbox's verdict on a metric or a program in a file."""
    source = metric_source(Path(path))
    if entry_of(source) != SCORE:
        return _validate_program(state, path, source, statistics)
    offered = sorted(OFFERED) if statistics is None else statistics
    for name in offered:
        if name not in STATISTICS:
            raise UnknownNameError("statistic", name, STATISTICS)
    inputs = state.inputs
    inputs.mkdir(parents=True, exist_ok=True)
    # One probe needs no spare container, which would only be waited for.
    once = Limits(warm=0)
    with Sandbox(inputs=inputs, limits=once, run_id="validate", statistics=offered) as sandbox:
        answer = sandbox.probe(source)
    record = _verdict(path, "metric", answer, source)
    record |= {"statistics": offered, "beyond_a_search": sorted(set(offered) - OFFERED)}
    return record


def _validate_program(
    state: State, path: str, source: str, statistics: list[str] | None
) -> dict[str, Any]:
    if statistics is not None:
        raise UsageError(f"{path} is a program, which gets all it may read; leave them out")
    program = Candidate.program(source)
    answer: Any
    with SandboxPrograms(state.inputs, "validate", warm=0) as runner:
        answer = runner.probe(program)
        if not isinstance(answer, Rejected):
            try:
                runner.recount(answer, blocks=prunes_blocks(source))
            except CandidateRejectedError as error:
                answer = Rejected(Code(error.code), error.detail[:LONGEST_DETAIL], answer.seconds)
    record = _verdict(path, "program", answer, source)
    record["given"] = "block, inputs, targets" if prunes_blocks(source) else "W"
    return record | {"statistics": sorted(READS), "beyond_a_search": []}


def _verdict(path: str, kind: str, answer: Any, source: str) -> dict[str, Any]:
    record: dict[str, Any] = {"ok": True, "kind": kind, "code": "ok", "detail": "", "file": path}
    record["seconds"] = answer.seconds
    if isinstance(answer, Rejected):
        parts = dataclasses.asdict(explain(answer, source))
        record |= {"ok": False, "code": str(answer.code), "detail": answer.detail, **parts}
        record["printed"] = answer.printed
    return record
