"""Rows of text in local files and on the dataset hub, read by the package ``datasets``."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from autoprune.errors import PrerequisiteError, UsageError, reason_of
from autoprune.names import HUB, HUB_FORM
from autoprune.store import Store
from autoprune.text.conversations import text_of
from autoprune.text.corpus import Corpus

TEXT_COLUMN = "text"
# Default column if none is named and there is no column called text.
CONVERSATIONS = "messages"
# Names of the file types in `datasets`.
BUILDERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
# Without a slice, only this many characters of a data set (some 12 million tokens) are read: it
# may be as large as the web.
MOST_CHARACTERS = 50_000_000

_REFERENCE = re.compile(
    r"(?P<dataset>[^:#]+)(:(?P<config>[^:\[\]#]+))?"
    r":(?P<split>[^:\[\]#]+)(\[(?P<slice>[^\[\]]*)\])?(#(?P<column>.+))?"
)
_SLICE = re.compile(r"(?P<start>\d*):(?P<stop>\d*)")


@dataclass(frozen=True)
class HubRows:
    """A data set on the hub, or a folder with the same layout, by reference.

    Args:
        dataset: Id with its namespace, or a folder.
        config: Its configuration; None for the only one.
        split: Name of the split.
        part: A slice of it, such as ``:4000``; None for the first ``MOST_CHARACTERS``.
        column: Column that holds the text or the conversation.
    """

    dataset: str
    config: str | None
    split: str
    part: str | None
    column: str

    @classmethod
    def from_text(cls, ref: str) -> "HubRows":
        """Read a reference, such as ``hf:HuggingFaceFW/fineweb:sample-10BT:train[:2000]#text``."""
        found = _REFERENCE.fullmatch(ref.removeprefix(HUB))
        if found is None:
            raise UsageError(
                f"the corpus {ref!r} is not of the form {HUB_FORM}; write, for example, "
                "hf:HuggingFaceFW/fineweb:sample-10BT:train[:2000]#text"
            )
        column = found["column"] or TEXT_COLUMN
        return cls(found["dataset"], found["config"], found["split"], found["slice"], column)

    def corpus(self, ref: str, tokenizer: Any | None, cache: Store | None) -> Corpus:
        """The text, from the cache if it was fetched before."""
        if cache is None or Path(self.dataset).exists():
            # A folder may change, and reading it is as fast as reading the cache.
            lines: Iterable[str] = self._lines()
        else:
            key = {"kind": "hub rows", "version": 1, **vars(self), "most": MOST_CHARACTERS}
            lines = cache.texts(key, self._lines)
        what = f"the column {self.column!r} of {ref}"
        return Corpus.of(ref, (text_of(json.loads(line), tokenizer, what) for line in lines))

    def _lines(self) -> Iterator[str]:
        """Values of the column as JSON: conversations are rendered separately for each model."""
        read = 0
        for value in _values(self._rows(), self.column, f"the corpus {HUB}{self.dataset}"):
            if value is not None:
                yield json.dumps(value, ensure_ascii=False, default=str)
            read += len(str(value))
            if self.part is None and read >= MOST_CHARACTERS:
                return

    def _rows(self) -> Iterator[dict[str, Any]]:
        bounds = _SLICE.fullmatch(":" if self.part is None else self.part)
        if bounds is None:
            # A percentage slice needs all of the rows.
            yield from _loaded(self.dataset, self.config, split=f"{self.split}[{self.part}]")
            return
        rows = _loaded(self.dataset, self.config, split=self.split, streaming=True)
        stop = int(bounds["stop"]) if bounds["stop"] else None
        yield from islice(rows, int(bounds["start"] or 0), stop)


def split_column(ref: str) -> tuple[str, str]:
    """File and column of ``FILE`` or ``FILE#COLUMN``."""
    if Path(ref).suffix in BUILDERS:
        return ref, TEXT_COLUMN
    path, _, column = ref.rpartition("#")
    return (path, column) if Path(path).suffix in BUILDERS and column else (ref, TEXT_COLUMN)


def file_texts(path: Path, column: str, tokenizer: Any | None) -> Iterator[str]:
    """Texts of a local ``.json``, ``.jsonl`` or ``.parquet`` file."""
    kind = BUILDERS[path.suffix]
    rows = _loaded(kind, None, data_files=str(path), split="train", streaming=True)
    for number, value in enumerate(_values(rows, column, str(path)), 1):
        if value is not None:
            yield text_of(value, tokenizer, f"{path} row {number}")
        elif kind == "json":
            # A table may have empty cells; an object without its text is a mistake.
            raise UsageError(
                f'{path} row {number} is not an object like {{"{column}": "..."}}; each must be one'
            )


def _values(rows: Iterable[dict[str, Any]], column: str, what: str) -> Iterator[Any]:
    for row in rows:
        if column == TEXT_COLUMN and column not in row and CONVERSATIONS in row:
            column = CONVERSATIONS
        if column not in row:
            raise UsageError(
                f"{what} has no column {column!r}, only {', '.join(row)}; name one with #COLUMN"
            )
        yield row[column]


def _loaded(path: str, config: str | None, **request: Any) -> Iterator[dict[str, Any]]:
    """Rows from ``datasets.load_dataset``, with its many errors mapped to two types."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    what = request.get("data_files") or f"{HUB}{path}"
    try:
        yield from datasets.load_dataset(path, config, **request)
    except OSError as error:
        if "data_files" in request:
            raise UsageError(f"{what} cannot be read ({reason_of(error)})") from error
        raise PrerequisiteError(
            f"the corpus {what} could not be fetched from the dataset hub ({reason_of(error)}); "
            "check the id, connect to the network once, or use wikipedia-sample or a local .txt, "
            ".json, .jsonl or .parquet file"
        ) from error
    except StopIteration:
        return  # raised for an empty file
    except (ValueError, TypeError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(
            f"{what} cannot be read ({reason_of(error)}); "
            + (
                "each line must be one object, all with the same columns"
                if "data_files" in request
                else f"the form is {HUB_FORM}"
            )
        ) from error
