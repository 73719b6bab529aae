"""A look at the source before any container: cheap refusals with a line and a remedy.

This is courtesy and thrift, never the border: the container holds whatever passes here. What it
gives is a message from which a language model can repair its code.
"""

import ast
import math
from collections.abc import Iterator, Mapping

from sandbox.codes import Code
from sandbox.outcomes import Rejected
from sandbox.torch_names import (
    BUILTINS,
    FORBIDDEN_ATTRIBUTES,
    MATH_NAMES,
    SUBMODULES,
    TORCH_FUNCTIONS,
)
from sandbox.verdicts import clean_text

MAX_BYTES = 16 << 10
MAX_NODES = 4000
MAX_DEPTH = 100
PARAMETERS = ["W", "stats", "params"]
_MODULES: dict[str, frozenset[str]] = {
    "torch": TORCH_FUNCTIONS | set(SUBMODULES) - {"functional"},
    "math": MATH_NAMES,
    **{f"torch.{name}": names for name, names in SUBMODULES.items() if name != "functional"},
    "torch.nn.functional": SUBMODULES["functional"],
}
_STATEMENTS: dict[type[ast.AST], str] = {
    ast.ClassDef: "class",
    ast.AsyncFunctionDef: "async",
    ast.AsyncFor: "async",
    ast.AsyncWith: "async",
    ast.Await: "await",
    ast.Global: "global",
    ast.Nonlocal: "nonlocal",
    ast.Delete: "del",
    ast.Yield: "yield",
    ast.YieldFrom: "yield from",
    ast.Try: "try",
    ast.TryStar: "try",
    ast.Match: "match",
}


class _RefusedError(Exception):
    def __init__(self, code: Code, node: ast.AST | None, text: str) -> None:
        line = getattr(node, "lineno", None)
        super().__init__(f"line {line}: {text}" if line else text)
        self.code = code


def screen(source: str) -> Rejected | None:
    """Look at a candidate's source without running it.

    Args:
        source: Python source that should define ``score(W, stats, params)``.

    Returns:
        None when nothing speaks against it, else the first reason, with the line.
    """
    try:
        tree = _parse(source)
        _check_statements(tree)
        _check_signature(tree)
        _check_names(tree, _imports(tree))
    except _RefusedError as refused:
        return Rejected(refused.code, str(refused)[:400], 0.0)
    return None


def screen_params(params: Mapping[str, float]) -> Rejected | None:
    """Look at the constants of a candidate.

    Args:
        params: What ``score`` would get; values are converted to float64.

    Returns:
        None when all are finite numbers, else the first that is not.
    """
    for name, value in params.items():
        try:
            finite = math.isfinite(float(value))
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            # A whole number may have more digits than Python prints.
            shown = "too large" if isinstance(value, int) else clean_text(repr(value), 40)
            detail = f"params: {clean_text(str(name), 40)} is {shown}; give a finite number"
            return Rejected(Code.BAD_PARAMS, detail, 0.0)
    return None


def _parse(source: str) -> ast.Module:
    size = len(source.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _RefusedError(
            Code.SCREEN_SIZE, None, f"{size} bytes; at most {MAX_BYTES}; shorten it"
        )
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        text = f"line {error.lineno}: {error.msg}: {(error.text or '').strip()[:120]}"
        raise _RefusedError(Code.SYNTAX, None, text) from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error or 'nested too deeply'}"
        raise _RefusedError(Code.SYNTAX, None, reason) from None
    level: list[ast.AST] = [tree]
    depth = nodes = 0
    while level:
        depth += 1
        nodes += len(level)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            text = f"more than {MAX_DEPTH} levels or {MAX_NODES} terms; split it into steps"
            raise _RefusedError(Code.SCREEN_SIZE, None, text)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return tree


def _check_statements(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        name = _STATEMENTS.get(type(node))
        if name is not None:
            raise _RefusedError(
                Code.SCREEN_STATEMENT,
                node,
                f"'{name}' is not allowed; write plain functions with assignments, if, for, return",
            )
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            text = f"a decorator on {node.name}; remove it"
            raise _RefusedError(Code.SCREEN_STATEMENT, node, text)
    for statement in tree.body:
        constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        allowed = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
        if not constant and not isinstance(statement, allowed):
            raise _RefusedError(
                Code.SCREEN_STATEMENT,
                statement,
                "only imports, constants and functions may stand at the top level",
            )


def _check_signature(tree: ast.Module) -> None:
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "score"]
    if len(found) != 1:
        text = f"{len(found)} functions named score; define exactly one: score(W, stats, params)"
        raise _RefusedError(Code.NO_SCORE, None, text)
    arguments = found[0].args
    names = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    extra = arguments.vararg or arguments.kwonlyargs or arguments.kwarg
    if names != PARAMETERS or extra:
        text = f"score has the parameters {names}; they must be (W, stats, params)"
        raise _RefusedError(Code.NO_SCORE, found[0], text)


def _imports(tree: ast.Module) -> dict[str, str]:
    """Local name to dotted module or function, for every import."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in _MODULES:
                    raise _import_refused(node, alias.name)
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    root = alias.name.partition(".")[0]
                    names[root] = root
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level or module not in _MODULES:
                raise _import_refused(node, module or ".")
            for alias in node.names:
                dotted = f"{module}.{alias.name}"
                if dotted not in _MODULES and alias.name not in _MODULES[module]:
                    raise _import_refused(node, dotted)
                names[alias.asname or alias.name] = dotted
    return names


def _import_refused(node: ast.AST, name: str) -> _RefusedError:
    return _RefusedError(
        Code.SCREEN_IMPORT,
        node,
        f"import of {name!r}; only torch, torch.nn.functional as F and math may be imported",
    )


def _check_names(tree: ast.Module, modules: dict[str, str]) -> None:
    bound = set(_bound_names(tree)) | set(modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id.startswith("__"):
                raise _RefusedError(
                    Code.SCREEN_NAME, node, f"{node.id!r}; names may not start with __"
                )
            known = node.id in bound or node.id in BUILTINS
            if isinstance(node.ctx, ast.Load) and not known:
                raise _RefusedError(
                    Code.SCREEN_NAME,
                    node,
                    f"{node.id!r} is neither defined here nor allowed; use torch, math, your own "
                    "names and plain builtins such as len, range, min, max",
                )
        elif isinstance(node, ast.Attribute):
            _check_attribute(node, modules)
    _check_module_uses(tree, modules)


def _check_module_uses(tree: ast.Module, modules: dict[str, str]) -> None:
    """A module only stands before a dot: under another name what it holds would not be seen."""
    before_dot = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute) or id(node) in before_dot:
            continue
        if isinstance(node.ctx, ast.Load) and _dotted(node, modules) in _MODULES:
            name = _dotted(node, modules)
            raise _RefusedError(
                Code.SCREEN_NAME,
                node,
                f"{name} as a value; write {name}.FUNCTION where it is used",
            )


def _check_attribute(node: ast.Attribute, modules: dict[str, str]) -> None:
    dotted = _dotted(node.value, modules)
    if dotted in _MODULES:
        inside = f"{dotted}.{node.attr}"
        if inside not in _MODULES and node.attr not in _MODULES[dotted]:
            raise _RefusedError(
                Code.SCREEN_ATTRIBUTE,
                node,
                f"{inside} is not allowed; use plain tensor functions such as torch.where, "
                "torch.quantile, torch.linalg.norm",
            )
    elif node.attr.startswith("_") or node.attr in FORBIDDEN_ATTRIBUTES:
        raise _RefusedError(
            Code.SCREEN_ATTRIBUTE,
            node,
            f".{node.attr} is not allowed; scores need plain tensor methods only",
        )


def _dotted(node: ast.AST, modules: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in modules:
        return ""
    return ".".join([modules[node.id], *reversed(parts)])


def _bound_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef):
            yield node.name
