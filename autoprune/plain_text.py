"""Make untrusted text safe to show in a terminal, a markdown page or a table.

Text from a language model, an endpoint, a file name or an error may hold escape sequences, which
move the cursor, rename the window or hide what follows (OSC 8 shows one address and opens another),
controls that change text direction, and, in markdown, images that the reader's browser fetches.
Every text passes through one of these functions once, just before it is shown.
"""

import re
import shlex

# The only control characters that are kept; any other may act as a command.
_KEPT = "\n\t"
_MARKDOWN = re.compile(r"[\\\[\]|]")


def printable(text: str) -> str:
    """The text with line breaks kept and every invisible character replaced by a space.

    Invisible are controls (including ESC), formats (bidi controls, joiners, tags), surrogates and
    unassigned code points, as defined by :meth:`str.isprintable`.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _KEPT else " " for mark in text)


def one_line(text: str, limit: int | None = None) -> str:
    """The printable text on one line, at most ``limit`` characters long."""
    line = " ".join(printable(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def in_markdown(text: str, limit: int | None = None) -> str:
    """One line that markdown shows literally: no link, image, tag, code or cell starts in it."""
    quiet = one_line(text, limit).replace("<", "‹").replace("`", "'")
    return _MARKDOWN.sub(r"\\\g<0>", quiet)


def in_code(text: str, limit: int | None = None) -> str:
    """One line between backticks in markdown; in a table, ``|`` must also be escaped."""
    return "`" + one_line(text, limit).replace("`", "'") + "`"


def in_fence(text: str) -> str:
    """Lines in a fenced markdown block; nothing in them ends the fence."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{printable(text)}\n{fence}"


def shell_line(*words: object) -> str:
    """The command ``autoprune WORD ...``, each word quoted where a shell would split it."""
    return shlex.join(["autoprune", *map(str, words)])


def in_json(text: str) -> str:
    """Equivalent JSON text with every invisible character escaped."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _KEPT else _escaped(mark) for mark in text)


def _escaped(mark: str) -> str:
    units = mark.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
