"""Static screen of a source before any container: cheap refusals with a line and a remedy.

The screen saves time but is not the security boundary: the container confines whatever passes
here. A refusal carries a message from which a language model can repair its code.
"""

import ast
import math
from collections.abc import Iterator, Mapping

from sandbox.codes import Code
from sandbox.outcomes import Rejected
from sandbox.source_tree import parse
from sandbox.torch_names import (
    BUILTINS,
    FORBIDDEN_ATTRIBUTES,
    MATH_NAMES,
    SUBMODULES,
    TOOLBOX,
    TORCH_FUNCTIONS,
)
from sandbox.verdicts import clean_text

MAX_BYTES = 16 << 10
MAX_NODES = 4000
MAX_DEPTH = 100
SCORE, PROGRAM, BLOCK = "score", "prune_layer", "prune_block"
PARAMETERS = {
    SCORE: ["W", "stats", "params"],
    PROGRAM: ["W", "stats", "budget", "params"],
    BLOCK: ["block", "inputs", "targets", "budget", "params"],
}
# Code of the refusal when each is missing.
_ABSENT = {SCORE: Code.NO_SCORE, PROGRAM: Code.NO_PROGRAM, BLOCK: Code.NO_PROGRAM}
# Tensor functions that a program needs and a score does not.
_FOR_PROGRAMS = frozenset({"autograd", "cholesky_inverse", "cholesky_solve", "enable_grad"})
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


def entry_of(source: str, usual: str = SCORE) -> str:
    """What a source defines: a program's ``prune_layer`` or ``prune_block``, else ``usual``.

    A program may have a helper named ``score``, as long as its parameters are not a metric's.
    """
    try:
        body = parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return usual
    found = {node.name: _parameters(node) for node in body if isinstance(node, ast.FunctionDef)}
    if usual == SCORE and found.get(SCORE) == PARAMETERS[SCORE]:
        return SCORE
    return next((name for name in (PROGRAM, BLOCK) if name in found), usual)


def _parameters(function: ast.FunctionDef) -> list[str]:
    """Names of the positional parameters."""
    arguments = function.args
    return [argument.arg for argument in arguments.posonlyargs + arguments.args]


def screen(source: str, entry: str = SCORE) -> Rejected | None:
    """Screen a candidate's source without running it."""
    modules = _MODULES
    if entry != SCORE:
        linalg = _MODULES["torch.linalg"] | {"cholesky_ex"}
        modules = _MODULES | {"toolbox": TOOLBOX, "torch.linalg": linalg}
        modules |= {"torch.autograd": frozenset({"grad"})}
        modules["torch"] = _MODULES["torch"] | _FOR_PROGRAMS
    try:
        tree = _parse(source)
        _check_statements(tree)
        _check_signature(tree, entry)
        _check_names(tree, _imports(tree, modules), modules)
    except _RefusedError as refused:
        return Rejected(refused.code, str(refused)[:400], 0.0)
    return None


def screen_params(params: Mapping[str, float]) -> Rejected | None:
    """Screen the constants of a candidate."""
    for name, value in params.items():
        try:
            finite = math.isfinite(float(value))
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            # An integer may have more digits than Python prints.
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
        tree = parse(source)
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


def _check_signature(tree: ast.Module, entry: str) -> None:
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry]
    wanted = f"({', '.join(PARAMETERS[entry])})"
    if len(found) != 1:
        text = f"{len(found)} functions named {entry}; define exactly one: {entry}{wanted}"
        raise _RefusedError(_ABSENT[entry], None, text)
    arguments, names = found[0].args, _parameters(found[0])
    extra = arguments.vararg or arguments.kwonlyargs or arguments.kwarg
    if names != PARAMETERS[entry] or extra:
        text = f"{entry} has the parameters {names}; they must be {wanted}"
        raise _RefusedError(_ABSENT[entry], found[0], text)


def _imports(tree: ast.Module, modules: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Local name to dotted module or function, for every import."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in modules:
                    raise _import_refused(node, alias.name, modules)
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    root = alias.name.partition(".")[0]
                    names[root] = root
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level or module not in modules:
                raise _import_refused(node, module or ".", modules)
            for alias in node.names:
                dotted = f"{module}.{alias.name}"
                if dotted not in modules and alias.name not in modules[module]:
                    raise _import_refused(node, dotted, modules)
                names[alias.asname or alias.name] = dotted
    return names


def _import_refused(
    node: ast.AST, name: str, modules: Mapping[str, frozenset[str]]
) -> _RefusedError:
    known = "torch, torch.nn.functional as F and math"
    if "toolbox" in modules:
        known = f"{known}, and {', '.join(sorted(TOOLBOX))} from toolbox,"
    return _RefusedError(
        Code.SCREEN_IMPORT, node, f"import of {name!r}; only {known} may be imported"
    )


def _check_names(
    tree: ast.Module, imported: dict[str, str], modules: Mapping[str, frozenset[str]]
) -> None:
    bound = set(_bound_names(tree)) | set(imported)
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
            _check_attribute(node, imported, modules)
    _check_module_uses(tree, imported, modules)


def _check_module_uses(
    tree: ast.Module, imported: dict[str, str], modules: Mapping[str, frozenset[str]]
) -> None:
    """Allow a module only before a dot: under another name, uses of its members would be missed."""
    before_dot = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute) or id(node) in before_dot:
            continue
        if isinstance(node.ctx, ast.Load) and _dotted(node, imported) in modules:
            name = _dotted(node, imported)
            raise _RefusedError(
                Code.SCREEN_NAME,
                node,
                f"{name} as a value; write {name}.FUNCTION where it is used",
            )


def _check_attribute(
    node: ast.Attribute, imported: dict[str, str], modules: Mapping[str, frozenset[str]]
) -> None:
    dotted = _dotted(node.value, imported)
    if dotted in modules:
        inside = f"{dotted}.{node.attr}"
        if inside not in modules and node.attr not in modules[dotted]:
            raise _RefusedError(
                Code.SCREEN_ATTRIBUTE,
                node,
                f"{inside} is not allowed; use plain tensor functions such as torch.where, "
                "torch.quantile, torch.linalg.norm",
            )
    elif node.attr.startswith("_") or node.attr in _forbidden(modules):
        raise _RefusedError(
            Code.SCREEN_ATTRIBUTE,
            node,
            f".{node.attr} is not allowed; scores need plain tensor methods only",
        )


def _forbidden(modules: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Forbidden attributes; programs may ask for gradients."""
    own = frozenset({"requires_grad_"}) if "toolbox" in modules else frozenset[str]()
    return FORBIDDEN_ATTRIBUTES - own


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
