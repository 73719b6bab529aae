"""The one error of the metric language: where, what, and what is allowed there."""

from autoprune.errors import UsageError

LINE_LIMIT = 400
WINDOW = 60


class ExpressionError(UsageError):
    """A formula that the language does not accept.

    ``str(error)`` shows the formula with a caret; :attr:`line` is one line, short enough to send
    back to a language model for repair, and :attr:`picture` the two lines below it.

    Args:
        detail: What is wrong and what is allowed instead.
        text: The whole formula.
        position: 0-based index of the offending character.
    """

    def __init__(self, detail: str, text: str, position: int) -> None:
        self.detail = detail
        self.text = text
        self.position = min(max(position, 0), len(text))
        super().__init__(f"{self.line}\n{self.picture}")

    @property
    def line(self) -> str:
        """The error in one line of at most 400 characters, column 1-based."""
        return _printable(f"column {self.position + 1}: {self.detail}")[:LINE_LIMIT]

    @property
    def picture(self) -> str:
        """The formula around the error, with a caret on its own line below."""
        start = max(0, self.position - WINDOW)
        excerpt = _printable(self.text[start : self.position + WINDOW])
        return f"  {excerpt}\n  {' ' * (self.position - start)}^"


def _printable(text: str) -> str:
    """Every character that a terminal or a log might interpret becomes ``?``; length is kept."""
    return "".join(character if character.isprintable() else "?" for character in text)
