"""Looks at sealed text: which runs measured on which set, how often, and what was read before."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from autoprune.report.sealed import SealedSet
from tasks.ledger_file import Line, locked_ledger, same_look
from tasks.state import State

if TYPE_CHECKING:
    from autoprune.text.splits import Splits


def record_look(
    state: State,
    text: str,
    run: str,
    whole: str | None = None,
    *,
    kind: str = "other",
    splits: "Splits | None" = None,
    command: str | None = None,
) -> int:
    """Note that ``run`` is about to measure on a sealed text; the same run counts once.

    There is one ledger, written under a lock, for searches, evaluations, comparisons and promotions
    in all state folders of this installation. Models are not distinguished: a text that chose one
    pruned model is no longer new when the next is chosen. Measuring on a whole corpus reads what
    any split of it seals, so it counts for each of its sealed parts.
    """
    with locked_ledger(state.root) as ledger:
        look: Line = {"text": text, "run": run}
        look |= {"whole": whole} if whole else {}
        number = splits.number if splits is not None else None
        if not any(same_look(known) == (text, run) for known in ledger.lines):
            look |= {"kind": kind, "date": datetime.now(UTC).isoformat(timespec="seconds")}
            look |= {"command": command} if command and command != run else {}
            if splits is not None:
                look |= {"number": number, "corpus": splits.corpus}
            ledger.append([*_listing(ledger.lines, splits), look])
        return len(_runs([*ledger.lines, look], text, whole, number))


def count_looks(
    state: State, text: str, whole: str | None = None, number: int | None = None
) -> int:
    """Count the measurements on a sealed text so far; see :func:`record_look`."""
    with locked_ledger(state.root) as ledger:
        return len(_runs(ledger.lines, text, whole, number))


def earlier_looks(state: State, splits: "Splits", command: str | None = None) -> SealedSet:
    """Earlier looks at the sealed part of a split."""
    with locked_ledger(state.root) as ledger:
        lines = ledger.lines
    text, whole, number = splits.sealed.digest, splits.whole, splits.number
    others = _before(lines, text, command)
    mine = set(splits.sealed_documents)
    at_whole = _runs([line for line in others if line.get("text") == whole], text, whole, None)
    read = {line["text"] for line in others if "text" in line}
    lists = {line["set"]: set(line["documents"]) for line in lines if line.get("set") in read}
    same = _runs(others, text, whole, number)
    # If the set itself or the whole text was read, all of the set was.
    seen = mine if same else mine & set[str]().union(*lists.values())
    unlisted = {
        line["run"]
        for line in others
        if "text" in line and line.get("whole") == whole and line["text"] not in lists
    }
    return SealedSet(
        number=number,
        corpus=splits.corpus,
        digest=text,
        earlier=len(same),
        whole=len(at_whole),
        documents=len(mine),
        shared=len(seen),
        unlisted=len(unlisted - same),
    )


def is_unread(lines: Iterable[Line], splits: "Splits") -> bool:
    """Whether no run looked at the sealed part itself; looks at the whole text do not count."""
    text, whole, number = splits.sealed.digest, splits.whole, splits.number
    return not any(line.get("text") != whole for line in _looks_at(lines, text, whole, number))


def sets_on_record(state: State) -> list[dict[str, Any]]:
    """Every text that was looked at, latest look first: number, corpus, looks, kinds, dates."""
    with locked_ledger(state.root) as ledger:
        lines = ledger.lines
    sizes = {line["set"]: len(line["documents"]) for line in lines if "set" in line}
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "text" not in line:
            continue
        text = line["text"]
        entry = found.setdefault(
            text,
            {"digest": text, "number": None, "corpus": None, "documents": sizes.get(text),
             "looks": 0, "kinds": {}, "first": None, "last": None},
        )  # fmt: skip
        entry["looks"] += 1
        kind = line.get("kind", "other")
        entry["kinds"][kind] = entry["kinds"].get(kind, 0) + 1
        for name in ("number", "corpus"):
            entry[name] = line.get(name, entry[name])
        date = line.get("date")
        entry["first"], entry["last"] = entry["first"] or date, date or entry["last"]
    return sorted(found.values(), key=lambda entry: entry["last"] or "", reverse=True)


class Looks:
    """The looks of one run, each noted before it is taken.

    Args:
        state: The state folder.
        run: Name of the run.
        kind: Its use of the text; see :func:`record_look`.
        command: What the run is a part of; None: the run.
    """

    def __init__(
        self, state: State, run: str, kind: str = "evaluate", command: str | None = None
    ) -> None:
        self._state = state
        self._run = run
        self._kind = kind
        self._command = command or run
        self.counts: dict[str, int] = {}
        self.sets: dict[str, SealedSet] = {}

    def note(self, text: str, whole: str, splits: "Splits | None" = None) -> None:
        """Note a look, and count all so far; looks at a whole corpus only if it was split."""
        part_of = whole if text != whole else None
        if splits is not None and part_of:
            self.sets[text] = earlier_looks(self._state, splits, self._command)
        count = record_look(
            self._state, text, self._run, part_of,
            kind=self._kind, splits=splits if part_of else None, command=self._command,
        )  # fmt: skip
        if part_of or self._was_split(whole):
            self.counts[text] = count

    def to_json(self) -> dict[str, Any]:
        """Looks by text so far, and what was known about each sealed set before."""
        sets = {text: known.to_json() for text, known in self.sets.items()}
        return {"looks": self.counts, "sealed_sets": sets}

    def _was_split(self, whole: str) -> bool:
        with locked_ledger(self._state.root) as ledger:
            return any(line.get("whole") == whole for line in ledger.lines)


def _before(lines: list[Line], text: str, command: str | None) -> list[Line]:
    """The lines before a command's first look at a text; all lines if there is none."""
    if command is None:
        return lines
    own = (
        number
        for number, line in enumerate(lines)
        if line.get("text") == text and command in (line.get("run"), line.get("command"))
    )
    return lines[: next(own, len(lines))]


def _listing(lines: Iterable[Line], splits: "Splits | None") -> list[Line]:
    """The line that lists a set's documents, unless the ledger has it already."""
    if splits is None or any(line.get("set") == splits.sealed.digest for line in lines):
        return []
    about = {"number": splits.number, "corpus": splits.corpus, "whole": splits.whole}
    return [{"set": splits.sealed.digest, **about, "documents": list(splits.sealed_documents)}]


def _looks_at(
    lines: Iterable[Line], text: str, whole: str | None, number: int | None
) -> Iterable[Line]:
    """Looks at a text, at the whole it is a part of, or at a sealed part of it.

    Sets with the same number of the same text hold the same documents, in whatever order a version
    of the program puts the passages.
    """
    return (
        line
        for line in lines
        if "text" in line
        and (
            line["text"] in (text, whole)
            or line.get("whole") == text
            or (number is not None and (line.get("whole"), line.get("number")) == (whole, number))
        )
    )


def _runs(lines: Iterable[Line], text: str, whole: str | None, number: int | None) -> set[str]:
    return {line["run"] for line in _looks_at(lines, text, whole, number)}
