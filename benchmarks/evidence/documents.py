"""Numbers of a Markdown document, each with what its table or paragraph says of its origin.

Numbers with a decimal point, an exponent or a percent sign count. Headings, heads and first cells
of tables, code, addresses of links and arXiv's numbers hold none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

NO_RECORD = "no record"
SENTENCE = "no raw record exists"
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})\s")
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s")
_NUMBER = re.compile(r"[+−-]?\d[\d,]*(?P<point>\.\d+)?(?P<power>e[+-]?\d+)?%?")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_LEFT, _RIGHT = "([{*_~≈±\"'“", ")]}*_~,;:.!?\"'”†"


@dataclass
class Section:
    """A heading and what stands under it.

    Args:
        level: 0 for what stands before the first heading.
        above: The section that it is part of.
        no_record: Its figures have no record.
        text: All of its text, parts included.
    """

    level: int
    above: "Section | None" = None
    no_record: bool = False
    text: list[str] = field(default_factory=list)

    def excuse(self) -> "Section | None":
        """The section that says so for this one: itself or one that it is part of."""
        if self.no_record:
            return self
        return self.above.excuse() if self.above is not None else None

    def add(self, line: str) -> None:
        """Take a line into this section and all that it is part of."""
        self.text.append(line)
        if self.above is not None:
            self.above.add(line)

    @property
    def says_so(self) -> bool:
        """Whether it holds the sentence that no raw record exists."""
        return SENTENCE in " ".join(" ".join(self.text).split()).casefold()


@dataclass
class Block:
    """A table, a paragraph or an item of a list.

    Args:
        section: Where it stands.
        records: Ids of the records that it names.
        settings: Numbers that it says are not results.
        lines: Number and text of each line, without comments.
    """

    section: Section
    records: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return bool(self.lines) and self.lines[0][1].lstrip().startswith("|")

    def note(self, comment: str) -> None:
        """Take what a comment says of this block."""
        kind, _, rest = comment.partition(":")
        if kind.strip() == "evidence":
            self.records += rest.replace(",", " ").split()
        elif kind.strip() == "not measured":
            self.settings += [part.strip() for part in rest.split(";") if part.strip()]

    def numbers(self) -> Iterator["Number"]:
        """The numbers that count, in order."""
        if not self.is_table:
            joined = "\n".join(text for _, text in self.lines)
            for offset, text in _numbers_in(joined):
                yield Number(text, self.lines[joined.count("\n", 0, offset)][0])
            return
        heads: list[str] = []
        for place, (number, line) in enumerate(self.lines):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if place == 0:
                heads = cells
            elif not all(set(cell) <= set(":- ") for cell in cells):
                for column, cell in list(enumerate(cells))[1:]:
                    head = heads[column] if column < len(heads) else ""
                    for _, text in _numbers_in(cell):
                        yield Number(text, number, cells[0], head)


@dataclass(frozen=True)
class Number:
    """A number of a document.

    Args:
        text: As it is written, with its percent sign.
        line: 1-based.
        row: First cell of its row; None outside of tables.
        column: Head of its column; None outside of tables.
    """

    text: str
    line: int
    row: str | None = None
    column: str | None = None


def blocks_of(text: str) -> list[Block]:
    """Tables, paragraphs and items of a Markdown text, with what their comments say."""
    # A comment of several lines is none of ours.
    text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n") or found[0], text)
    section = Section(0)
    blocks = [Block(section)]
    fenced = False
    for number, whole in enumerate(text.splitlines(), 1):
        fence = whole.lstrip().startswith("```")
        fenced ^= fence
        comments, line = _COMMENT.findall(whole), _COMMENT.sub("", whole)
        heading = None if fenced else _HEADING.match(line)
        if heading is not None:
            level = len(heading[1])
            while section.level >= level and section.above is not None:
                section = section.above
            section = Section(level, section)
            blocks.append(Block(section))
        if NO_RECORD in comments:
            section.no_record = True
        block = blocks[-1]
        parted = fenced or fence or heading is not None or (not line.strip() and not comments)
        table = line.lstrip().startswith("|")
        if block.lines and (parted or _ITEM.match(line) or table != block.is_table):
            if line.strip() or parted:
                block = Block(section)
                blocks.append(block)
        elif block.lines and not line.strip():
            block = Block(section)
            blocks.append(block)
        for comment in comments:
            block.note(comment)
        if line.strip() and not (fenced or fence or heading is not None):
            section.add(line)
            block.lines.append((number, line))
    return blocks


def _numbers_in(text: str) -> Iterator[tuple[int, str]]:
    """Offset and text of numbers with a decimal point, an exponent or a percent sign."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    text = re.sub(r"`[^`]*`", blank, text)
    text = re.sub(r"(?<=\])\([^)]*\)", blank, text)
    # Several in one word are several: 0.05–0.2, 29.1/30.8.
    tokens = [(found.start(), found[0]) for found in re.finditer(r"[^\s/–|]+", text)]
    for place, (offset, token) in enumerate(tokens):
        core = token.lstrip(_LEFT).rstrip(_RIGHT)
        match = _NUMBER.fullmatch(core)
        if match is None or _ARXIV.fullmatch(core):
            continue
        after = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        percent = core.endswith("%") or (after.startswith("%") and token.endswith(core))
        if percent or match["point"] or match["power"]:
            yield offset, core if core.endswith("%") or not percent else f"{core} %"
