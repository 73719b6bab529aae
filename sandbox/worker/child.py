"""The forked child: restricts itself, runs the designed code, writes raw numbers, and ends.

Whatever this process says can be forged by the code it runs. It only makes honest mistakes easy
to repair; the host judges the numbers itself.
"""

import os
import resource
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any

import torch
from safetensors import safe_open

from . import toolbox
from .block import unpacked
from .child_records import ERROR_MARK, LAYER_MARK, MAX_TEXT, RECORD
from .protocol import Job, JobLayer
from .syscalls import Filter

INPUTS = "/in"
SOURCE_NAME = "candidate.py"
_CONTROL, _RESULT = 3, 4
_SIGNATURES = {
    "score": ("no_score", "score(W, stats, params)", "one score per weight"),
    "prune_layer": ("no_program", "prune_layer(W, stats, budget, params)", "the new weights"),
    "prune_block": (
        "no_program",
        "prune_block(block, inputs, targets, budget, params)",
        "the new weights",
    ),
}


class RefusedError(Exception):
    """The designed function broke its contract.

    Args:
        code: One of ``child_records.CHILD_CODES``.
        detail: Expected and got, in one line.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def run(job: Job, fds: tuple[int, int, int], syscall_filter: Filter | None) -> None:
    """Score or prune the layers of a job; never returns."""
    # Bound before designed code can replace them in their modules; politeness, not safety.
    write, leave = os.write, os._exit
    try:
        _restrict(job, fds)
        if job.threads > 1:
            torch.set_num_threads(job.threads)
        torch.manual_seed(int.from_bytes(os.urandom(7), "little"))
        if syscall_filter is not None:
            syscall_filter.install()
        function = _load(job.source, job.entry)
        with torch.no_grad():
            for index in job.order:
                _run_layer(job, index, function)
                write(_CONTROL, RECORD.pack(LAYER_MARK, index, 0))
        _flush()
        leave(0)
    except BaseException as error:
        code, text = _describe(error)
        data = f"{code}\n{text}".encode("utf-8", "replace")[:MAX_TEXT]
        _flush()
        write(_CONTROL, RECORD.pack(ERROR_MARK, 0, len(data)) + data)
        leave(1)


def _restrict(job: Job, fds: tuple[int, int, int]) -> None:
    os.setsid()
    capture, control, result = (os.dup2(fd, 20 + i) for i, fd in enumerate(fds))
    for number, fd in ((1, capture), (2, capture), (_CONTROL, control), (_RESULT, result)):
        os.dup2(fd, number)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(5, 4096)
    seconds = job.processor_s
    # At the soft limit of the processor's time the process gets a signal that tells why it ended.
    for limit, value, most in (
        (resource.RLIMIT_FSIZE, job.result_bytes, job.result_bytes),
        (resource.RLIMIT_NOFILE, job.open_files, job.open_files),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
    ):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (min(value, most), most))


def _load(source: str, entry: str) -> Callable[..., Any]:
    try:
        code = compile(source, SOURCE_NAME, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedError("syntax", f"{type(error).__name__}: {error}") from error
    namespace: dict[str, Any] = {"__name__": "candidate"}
    if entry != "score":
        # The name that programs import; a program that patches it patches its own process alone.
        sys.modules["toolbox"] = toolbox
    exec(code, namespace)
    function = namespace.get(entry)
    if not callable(function):
        code_of, signature, _ = _SIGNATURES[entry]
        raise RefusedError(code_of, f"the module defines no function {signature}")
    return function  # type: ignore[no-any-return]


def _run_layer(job: Job, index: int, function: Callable[..., Any]) -> None:
    layer, entry = job.layers[index], job.entry
    path = f"{INPUTS}/{layer.file}"
    inputs = _read(path)
    run = _of_layer if layer.block is None else _of_block
    result = run(job, layer, inputs, function)
    if job.check_inputs:
        _compare(path, inputs, entry)
    _write(result, job.offsets[index])


def _of_layer(
    job: Job, layer: JobLayer, inputs: dict[str, torch.Tensor], function: Callable[..., Any]
) -> torch.Tensor:
    stats: dict[str, Any] = {name: value for name, value in inputs.items() if name != "W"}
    if layer.position is not None:
        stats["position"] = _Named("position", dict(layer.position))
    named = [_Named("stats", stats), _Named("params", dict(job.params))]
    if layer.budget is not None:
        named.insert(1, _Named("budget", _budget(layer.budget, layer.rows)))
    return _checked(function(inputs["W"], *named), (layer.rows, layer.columns), job.entry, "W")


def _of_block(
    job: Job, layer: JobLayer, inputs: dict[str, torch.Tensor], function: Callable[..., Any]
) -> torch.Tensor:
    """All new matrices by sorted name in one row."""
    assert layer.block is not None and layer.budget is not None
    shapes, budget = layer.block["matrices"], layer.budget
    block, hidden, targets = unpacked(inputs, layer.block, lambda own: _fixed("stats", own))
    block.position = _fixed("position", dict(layer.position or {}))
    owed = {
        name: _fixed("budget", _budget(budget[name], rows)) for name, (rows, _) in shapes.items()
    }
    params = _fixed("params", dict(job.params))
    made = function(block, hidden, targets, _fixed("budget", owed), params)
    if type(made) is not dict or set(made) != set(shapes):
        found = f"the names {sorted(map(str, made))}" if type(made) is dict else type(made).__name__
        raise RefusedError(
            "wrong_type",
            f"{job.entry} returned {found[:120]}; return a dict with one tensor for each of "
            f"{', '.join(sorted(shapes))}",
        )
    parts = [
        _checked(made[name], (rows, columns), job.entry, name).detach().reshape(-1)
        for name, (rows, columns) in sorted(shapes.items())
    ]
    return torch.cat(parts)


def _checked(result: Any, shape: tuple[int, int], entry: str, name: str) -> torch.Tensor:
    """A plain float32 tensor of this shape."""
    if type(result) is not torch.Tensor:
        raise RefusedError(
            "wrong_type",
            f"{entry} returned {type(result).__name__[:60]}; return a plain torch.Tensor of shape "
            f"{list(shape)} (.detach() turns a Parameter into one)",
        )
    plain = result.layout is torch.strided and result.device.type == "cpu"
    if not plain or result.is_quantized or result.is_nested:
        raise RefusedError(
            "wrong_type",
            f"{entry} returned a {result.layout} tensor on {result.device}; return a dense one on "
            f"the device of {name}",
        )
    if tuple(result.shape) != shape:
        raise RefusedError(
            "wrong_shape",
            f"{entry} returned shape {list(result.shape)[:8]} for {name} of shape {list(shape)}; "
            f"return {_SIGNATURES[entry][2]}, same shape as {name}",
        )
    if result.dtype is not torch.float32:
        raise RefusedError(
            "wrong_dtype",
            f"{entry} returned {result.dtype}; return torch.float32 (add .float() at the end)",
        )
    return result


# Candidates and their designers read this name.
class UnknownName(KeyError):  # noqa: N818
    """A statistic or constant that there is none of; says which there are."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Named(dict[str, Any]):
    """A plain mapping whose refusal a designer can learn from."""

    def __init__(self, kind: str, items: dict[str, Any]) -> None:
        super().__init__(items)
        self._kind = kind

    def __missing__(self, name: object) -> Any:
        known = ", ".join(sorted(self)) or "nothing"
        raise UnknownName(f"{self._kind} has no {str(name)[:60]!r}; it has {known}")


def _read(path: str) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _fixed(kind: str, items: dict[str, Any]) -> Mapping[str, Any]:
    """The same, read-only."""
    return MappingProxyType(_Named(kind, items))


def _budget(owed: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The budget as programs read it: zeros of each row as a tensor where rows compete."""
    budget = dict(owed)
    if budget.get("group") == "row":
        base, longer = divmod(int(budget["zeros"]), rows)
        budget["rows"] = (torch.arange(rows) < longer).long() + base
    return budget


def _compare(path: str, used: dict[str, torch.Tensor], entry: str) -> None:
    for name, tensor in _read(path).items():
        if used[name].shape != tensor.shape or not torch.equal(used[name], tensor):
            raise RefusedError(
                "mutated_input",
                f"{entry} changed {name} in place; work on a copy (.clone()) or use the form "
                "without the trailing underscore",
            )


def _write(result: torch.Tensor, offset: int) -> None:
    view = memoryview(result.detach().contiguous().numpy().data).cast("B")
    position = 0
    while position < len(view):
        position += os.pwrite(_RESULT, view[position:], offset + position)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException as error:
            os.write(2, type(error).__name__.encode()[:80])


def _describe(error: BaseException) -> tuple[str, str]:
    if isinstance(error, RefusedError):
        return error.code, str(error)
    try:
        text = str(error)[:600]
    except BaseException as second:
        text = f"(its message could not be read: {type(second).__name__})"
    lowered = text.lower()
    out_of_memory = isinstance(error, MemoryError) or any(
        mark in lowered for mark in ("can't allocate memory", "not enough memory", "out of memory")
    )
    line = _line(error.__traceback__)
    where = f"line {line}: " if line else ""
    return "oom" if out_of_memory else "exception", f"{where}{type(error).__name__}: {text}"


def _line(trace: TracebackType | None) -> int | None:
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SOURCE_NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
