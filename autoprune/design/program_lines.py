"""Lines of programs: a program without one of them, for ablations, and all of them in brief."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from autoprune.program_files import prunes_blocks
from autoprune.programs.manual import toolbox


def without_a_line(source: str) -> list[tuple[str, str]]:
    """Return all programs that lack one statement and may still run.

    Statements that alone define a name are kept: an assignment is removed only if its names are
    bound before it. A condition or a loop is removed as a whole.
    """
    lines = source.splitlines()
    found = []
    for statement in _removable(ast.parse(source)):
        assert statement.end_lineno is not None
        first, last = statement.lineno - 1, statement.end_lineno
        kept = "\n".join(lines[:first] + lines[last:]) + "\n"
        try:
            ast.parse(kept)
        except SyntaxError:
            # The statement was the only one in its block.
            continue
        found.append((lines[first].strip(), kept))
    return found


def _removable(tree: ast.Module) -> Iterator[ast.stmt]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            bound = {argument.arg for argument in function.args.args}
            yield from _in_body(function.body, bound)


def _in_body(body: list[ast.stmt], bound: set[str]) -> Iterator[ast.stmt]:
    for statement in body:
        inner = isinstance(statement, ast.If | ast.For | ast.While)
        own = _stored(statement)
        rebinds = inner or isinstance(statement, ast.Assign | ast.AnnAssign)
        if isinstance(statement, ast.AugAssign) or (rebinds and own <= bound):
            yield statement
        if inner:
            targets = _stored(statement.target) if isinstance(statement, ast.For) else set()
            yield from _in_body(statement.body, bound | targets)  # type: ignore[attr-defined]
        bound |= own


def _stored(tree: ast.AST) -> set[str]:
    """Names that are bound in a piece of code."""
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


# Every prompt describes the same programs again.
@lru_cache(maxsize=1024)
def in_brief(source: str) -> str:
    """Return what a program prunes and uses: ``block program of 24 lines: topk, descend_block``."""
    used = [name for name in toolbox() if re.search(rf"\b{name}\(", source)]
    form = "block" if prunes_blocks(source) else "layer"
    lines = sum(bool(line.strip()) for line in source.splitlines())
    return f"{form} program of {lines} lines: {', '.join(used) or 'nothing of the toolbox'}"
