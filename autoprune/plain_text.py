"""Text of others at the border to a reader: a terminal, a page of markdown, a table.

A language model, an endpoint, a file's name or an error may hold escape sequences, which move the
cursor, rename the window or hide what follows (OSC 8 shows one address and opens another);
controls that turn the direction of text; and, in markdown, images that the reader's browser
fetches. Every text passes one of these functions once, where it leaves for a reader.
"""

import re

# What may turn a code point that is printed as one letter into a command: all but these.
_KEPT = "\n\t"
_MARKDOWN = re.compile(r"[\\\[\]|]")


def printable(text: str) -> str:
    """The text in its lines, with a space for every character that is not seen.

    Not seen are controls (ESC among them), formats (bidi controls, joiners, tags), surrogates and
    unassigned code points, as :meth:`str.isprintable` says.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _KEPT else " " for mark in text)


def one_line(text: str, limit: int | None = None) -> str:
    """The printable text on one line, of at most ``limit`` characters."""
    line = " ".join(printable(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def in_markdown(text: str, limit: int | None = None) -> str:
    """One line that markdown shows as it is: no link, image, tag, code or cell begins in it.

    Args:
        text: Anything.
        limit: Characters before those are escaped; None: all.
    """
    quiet = one_line(text, limit).replace("<", "‹").replace("`", "'")
    return _MARKDOWN.sub(r"\\\g<0>", quiet)


def in_code(text: str, limit: int | None = None) -> str:
    """One line between back-ticks in markdown; in a table, ``|`` must be escaped besides."""
    return "`" + one_line(text, limit).replace("`", "'") + "`"


def in_fence(text: str) -> str:
    """Lines between fences in markdown; nothing in them ends the fence."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{printable(text)}\n{fence}"


def in_json(text: str) -> str:
    """JSON text with an escape for every character that is not seen; it says the same."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _KEPT else _escaped(mark) for mark in text)


def _escaped(mark: str) -> str:
    units = mark.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
