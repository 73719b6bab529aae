"""Designed code as a designer wrote it: parsed, compared, and never run."""

import ast
from typing import Any

LONGEST_SOURCE = 8_000
# What the sandbox's screen lets through; what reads code here is recursive.
DEEPEST_CODE = 100
# Longer ones have no decimal text in Python, and no place in a tensor.
LONGEST_WHOLE_BITS = 1024

TOO_DEEP = f"the code is nested more than {DEEPEST_CODE} deep; split it into steps"


def signature_fault(source: str, name: str, parameters: list[str]) -> str:
    """What keeps a source from being that of a function; empty where nothing does.

    Args:
        source: Python.
        name: Of the function that it must define, once.
        parameters: Of that function.
    """
    if len(source) > LONGEST_SOURCE:
        return f"the code has {len(source)} characters; write a short one"
    tree = _tree(source)
    if isinstance(tree, str):
        return tree
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    known = ", ".join(parameters)
    if len(functions) != 1:
        return f"define exactly one function {name}({known})"
    if [a.arg for a in functions[0].args.args] != parameters:
        return f"{name} takes exactly the arguments {known}"
    return ""


def without_names(source: str) -> str:
    """Equal for sources that differ in names, comments and layout only; itself where unreadable."""
    tree = _tree(source)
    return source if isinstance(tree, str) else ast.dump(_Renamed().visit(tree))


def _tree(source: str) -> ast.Module | str:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except ValueError as error:
        return f"unreadable code: {type(error).__name__}"
    except (RecursionError, MemoryError):
        # Where Python gives up depends on who called; prompts that quote this must not.
        return TOO_DEEP
    return _fault(tree) or tree


def _fault(tree: ast.Module) -> str:
    """What keeps parsed code from being compared and shown; goes level by level, never deep."""
    level: list[ast.AST] = [tree]
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST_CODE:
            return TOO_DEEP
        for node in level:
            if not isinstance(node, ast.Constant) or not isinstance(node.value, int):
                continue
            bits = node.value.bit_length()
            if bits > LONGEST_WHOLE_BITS:
                detail = f"a whole number of {bits} bits; at most {LONGEST_WHOLE_BITS}"
                return f"line {node.lineno}: {detail}, write a smaller one"
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return ""


class _Renamed(ast.NodeTransformer):
    """Local names by order of appearance, docstrings gone."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if isinstance(node.ctx, ast.Store):
            self._names.setdefault(node.id, f"v{len(self._names)}")
        node.id = self._names.get(node.id, node.id)
        return node
