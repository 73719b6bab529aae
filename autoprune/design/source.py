"""A designer's code as written: parsed and compared, but never run."""

import ast
from typing import Any

LONGEST_SOURCE = 8_000
# Same limit as the sandbox's screen, since the functions that read code here are recursive.
DEEPEST_CODE = 100
# Longer integers have no decimal text in Python and do not fit in a tensor.
LONGEST_WHOLE_BITS = 1024

TOO_DEEP = f"the code is nested more than {DEEPEST_CODE} deep; split it into steps"


def signature_fault(source: str, name: str, parameters: list[str]) -> str:
    """Return why a source does not define the required function; empty if it does."""
    if len(source) > LONGEST_SOURCE:
        return (
            f"the code has {len(source)} characters; at most {LONGEST_SOURCE}, write a shorter one"
        )
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
    """Normalise names, comments and layout; a source that cannot be parsed is left unchanged."""
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
        # Python's own limit depends on the caller's depth; prompts that quote this must not.
        return TOO_DEEP
    return _fault(tree) or tree


def _fault(tree: ast.Module) -> str:
    """Return why parsed code cannot be compared and shown; walks it without recursion."""
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
    """Rename local names by order of appearance and remove docstrings."""

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
