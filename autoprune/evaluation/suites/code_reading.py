"""Extract the program from a chat reply: fences, prose, other names, bodies without a signature.

Replies are hostile; here they are parsed and never run. From a reply that defines the function,
only definitions, imports and assignments are kept, as in EvalPlus (arXiv 2305.01210). Examples and
tests that models like to append would only run along with it.
"""

import ast
import re
import textwrap
import warnings
from itertools import islice

from autoprune.evaluation.suites.code_problems import CodeProblem

ASK = (
    "Complete this Python function. Answer with the whole function in one block of code.\n\n"
    "```python\n{prompt}```"
)
_FENCED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL
)
_BEGINS = re.compile(r"^(?:def |class |import |from |@)", re.MULTILINE)
# Places in prose at which code may begin; a hostile reply has one on each line.
_BEGINNINGS = 8
_KEPT = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign,
    ast.AnnAssign,
)  # fmt: skip


def program_of(problem: CodeProblem, reply: str) -> str:
    """Source that defines the problem's function, as far as the reply has one."""
    reply = reply.rpartition("</think>")[2]
    blocks = [textwrap.dedent(found[2]) for found in _FENCED.finditer(reply)] or [reply]
    trees = [_read(block) for block in blocks]
    named = [place for place, tree in enumerate(trees) if problem.name in _functions(tree)]
    # Models repeat the prompt before they continue it.
    done = [place for place in named if _returns(_functions(trees[place])[problem.name])]
    for place in done or named:
        # Helpers may be defined in earlier blocks.
        return "\n".join(_kept(one) for one in trees[: place + 1])
    for block in blocks:
        for body in (block, textwrap.indent(textwrap.dedent(block), "    ")):
            whole = _parsed(problem.prompt + body)
            if whole is not None and len(whole.body) == 1 and _returns(whole.body[0]):
                return problem.prompt + body
    for tree in trees:
        if functions := _functions(tree):
            return f"{_kept(tree)}\n{problem.name} = {list(functions)[-1]}\n"
    return problem.prompt + reply


def _read(block: str) -> ast.Module:
    """The block, or the part of it that parses: from the first definition, without a broken end."""
    if (whole := _parsed(block)) is not None:
        return whole
    for begin in islice(_BEGINS.finditer(block), _BEGINNINGS):
        lines = block[begin.start() :].splitlines()
        for count in range(len(lines), 0, -1):
            if (found := _parsed("\n".join(lines[:count]))) is not None:
                return found
    return ast.Module([], [])


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            # Warnings about a model's escape sequences would reach the user's screen.
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _returns(node: ast.AST) -> bool:
    """Whether statements return something, ignoring nested functions."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)
    children = (child for child in ast.iter_child_nodes(node) if not isinstance(child, inner))
    return any(isinstance(child, ast.Return) or _returns(child) for child in children)


def _kept(tree: ast.Module) -> str:
    kept: list[ast.stmt] = [node for node in tree.body if isinstance(node, _KEPT)]
    try:
        return ast.unparse(ast.Module(kept, [])) + "\n"
    except (RecursionError, ValueError):
        return ""
