"""Python source as a tree, from several threads at once."""

import ast
from threading import Lock

# Python 3.11 counts the depth of a tree for all threads together: where another one parses while
# the garbage collector runs Python code, it raises SystemError.
_LOCK = Lock()


def parse(source: str) -> ast.Module:
    """The tree of a source, as :func:`ast.parse` gives it, with the same errors."""
    with _LOCK:
        return ast.parse(source)
