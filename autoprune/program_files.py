"""Read designed code from files, by path or by name; nothing is run here."""

import ast
import json
import math
from collections.abc import Mapping
from pathlib import Path

from autoprune.errors import UnknownNameError, UsageError

PROGRAM_PREFIX = "program:"
CODE_SUFFIX = ".py"
# Kilobytes, not megabytes: anything larger is neither a metric nor a program.
LARGEST_SOURCE = 64 << 10
CATALOGUE = Path(__file__).parent / "programs" / "catalogue"
CONSTANTS = "PARAMS"
# Larger ones, times four while they are tuned, would soon leave the range of numbers.
MAX_CONSTANT = 1e12
# Raised if the declaration is not a mapping of names to numbers.
_NO_NUMBERS = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
# A program defines one of these functions, with these argument names.
LAYER, BLOCK = "prune_layer", "prune_block"
SIGNATURES = {
    LAYER: ["W", "stats", "budget", "params"],
    BLOCK: ["block", "inputs", "targets", "budget", "params"],
}


def is_program(metric: str) -> bool:
    """Whether a metric is a program: ``program:FILE.py`` or ``program:NAME``."""
    return metric.startswith(PROGRAM_PREFIX)


def in_file(metric: str) -> bool:
    """Whether a metric is Python in a file, ``FILE.py``."""
    return metric.endswith(CODE_SUFFIX) and not is_program(metric)


def catalogue() -> list[str]:
    """Names of the programs shipped with AutoPrune."""
    return sorted(path.stem for path in CATALOGUE.glob(f"*{CODE_SUFFIX}"))


def program_source(ref: str) -> str:
    """Source of a program."""
    path = Path(ref).expanduser()
    if not ref.endswith(CODE_SUFFIX):
        if ref not in catalogue():
            raise UnknownNameError("program", ref, [*catalogue(), "FILE.py"])
        path = CATALOGUE / f"{ref}{CODE_SUFFIX}"
    return read_code(path, "program", "defines prune_layer or prune_block")


def prunes_blocks(source: str) -> bool:
    """Whether a program defines ``prune_block`` and no ``prune_layer``, without running it."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return BLOCK in names and LAYER not in names


def declared_constants(source: str) -> dict[str, float]:
    """Read ``PARAMS = {"name": number, ...}`` at the top of a program, without running it."""
    value = _declaration(source)
    if value is None:
        return {}
    try:
        found = ast.literal_eval(value)
        constants = {str(name): float(number) for name, number in found.items()}
    except _NO_NUMBERS:
        constants = {CONSTANTS: math.nan}
    # A lone surrogate is text that no file or log can hold.
    written = all(name.isprintable() for name in constants)
    if not written or not all(abs(number) <= MAX_CONSTANT for number in constants.values()):
        raise UsageError(
            f"line {value.lineno}: {CONSTANTS} must be finite numbers by name, at most "
            f'{MAX_CONSTANT:g} in size, for example {CONSTANTS} = {{"damp": 0.01}}'
        )
    return constants


def whole_constants(source: str) -> frozenset[str]:
    """Names of the constants that a program declares as whole numbers, such as ``"epochs": 4``."""
    value = _declaration(source)
    try:
        found = {} if value is None else ast.literal_eval(value)
        return frozenset(str(name) for name, number in found.items() if type(number) is int)
    except _NO_NUMBERS:
        return frozenset()


def with_constants(source: str, constants: Mapping[str, float]) -> str:
    """Source of a program that declares these numbers, such as tuned ones, and not its own."""
    value = _declaration(source)
    if value is None or dict(constants) == declared_constants(source):
        return source
    lines = source.splitlines(keepends=True)
    assert value.end_lineno is not None and value.end_col_offset is not None
    # Columns count bytes.
    head = lines[value.lineno - 1].encode()[: value.col_offset].decode()
    tail = lines[value.end_lineno - 1].encode()[value.end_col_offset :].decode()
    numbers = handed_constants(source, constants)
    written = ", ".join(f"{json.dumps(name)}: {number!r}" for name, number in numbers.items())
    changed = f"{head}{{{written}}}{tail}"
    return "".join([*lines[: value.lineno - 1], changed, *lines[value.end_lineno :]])


def handed_constants(source: str, constants: Mapping[str, float]) -> dict[str, float]:
    """Constants as a program gets them: whole where it declares whole numbers, for ``range()``."""
    whole = {name for name in whole_constants(source) if constants.get(name, 0.5) % 1 == 0}
    return {name: int(value) if name in whole else value for name, value in constants.items()}


def _declaration(source: str) -> ast.expr | None:
    """What the statement ``PARAMS = ...`` or ``PARAMS: dict = ...`` assigns; None without one."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == CONSTANTS for one in targets):
                return node.value
    return None


def read_code(path: Path, kind: str, content: str) -> str:
    """Text of a file of designed code."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the {kind} file {path} cannot be read ({error.strerror}); name a .py file that "
            f"{content}"
        ) from error
    if len(data) > LARGEST_SOURCE:
        raise UsageError(
            f"the {kind} file {path} has {len(data)} bytes; a {kind} may have {LARGEST_SOURCE}"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the {kind} file {path} is not UTF-8 text; save it as UTF-8") from error


def metric_source(path: Path) -> str:
    """Text of a metric file; see :func:`read_code`."""
    return read_code(path, "metric", "defines score(W, stats, params)")
