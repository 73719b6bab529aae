"""Text to calibrate and measure on: named corpora and local files."""

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet

from autoprune.calibration.corpus import JOINT, Corpus
from autoprune.calibration.generated import GENERATED, Author, generated_corpus, is_generated
from autoprune.calibration.hub import TEXTS
from autoprune.calibration.store import Store
from autoprune.calibration.wikipedia import sample_articles, sample_file
from autoprune.digest import digest_file
from autoprune.errors import UsageError
from autoprune.registry import Registry

__all__ = ["CORPORA", "JOINT", "Author", "Corpus", "corpus_summary", "load_corpus"]

TEXT_COLUMN = "text"

CORPORA: Registry[Callable[[Store | None], Corpus]] = Registry("corpus", "autoprune.corpora")


def load_corpus(ref: str, *, cache: Store | None = None, author: Author | None = None) -> Corpus:
    """Load a corpus by name or from a ``.txt``, ``.jsonl`` or ``.parquet`` file.

    Args:
        ref: A registered name or a path. JSONL and Parquet hold their text in ``text``.
        cache: Keeps text that is slow to clean or to write.
        author: The model that writes ``self-generated`` text, unless ``ref`` names one.

    Raises:
        UsageError: If nothing of this name exists, or a file holds no text.
        PrerequisiteError: If a package or the network is missing.
        DamagedFileError: If the cached text is damaged.
    """
    suffix = Path(ref).suffix
    if suffix in _READERS:
        path = Path(ref).expanduser()
        if not path.is_file():
            raise UsageError(f"the corpus file {ref!r} does not exist; check the path")
        corpus = Corpus.of(path.name, _READERS[suffix](path), ordered=suffix == ".txt")
    elif is_generated(ref):
        corpus = generated_corpus(ref, author, cache)
    elif ref in CORPORA:
        corpus = CORPORA.get(ref)(cache)
    else:
        names = [name for name, _ in CORPORA.items()]
        near = difflib.get_close_matches(ref, names, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"unknown corpus {ref!r}; {hint}allowed are {', '.join(names)}, or a path to a .txt, "
            ".jsonl or .parquet file"
        )
    if not any(document.strip() for document in corpus.documents):
        raise UsageError(f"the corpus {ref!r} holds no text; give one with at least a page of it")
    return corpus


def corpus_summary(entry: Callable[[Store | None], Corpus]) -> str:
    """What a registered corpus is, and what it is for, in one line."""
    said: str = getattr(entry, "summary", "") or entry.__doc__ or ""
    return said.strip().partition("\n")[0]


for _text in TEXTS:
    CORPORA.add(_text.name, _text)


@CORPORA.register("wikipedia-sample")
def _wikipedia_sample(cache: Store | None) -> Corpus:
    """For both: articles that need no network; split in three wherever that matters."""
    source = sample_file()

    def write(path: Path) -> None:
        lines = (json.dumps({TEXT_COLUMN: a}, ensure_ascii=False) for a in sample_articles(source))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    if cache is None:
        return Corpus.of("wikipedia-sample", sample_articles(source))
    key = {"kind": "wikipedia-sample", "version": 2, "source": digest_file(source)}
    path, _ = cache.file(key, ".jsonl", write)
    return Corpus.of("wikipedia-sample", _read_jsonl(path))


@CORPORA.register(GENERATED)
def _self_generated(cache: Store | None) -> Corpus:
    """To calibrate only: text that the model writes itself; nothing is measured on it."""
    # Without a model this says what to write instead.
    return generated_corpus(GENERATED, None, cache)


def _read_text(path: Path) -> Iterator[str]:
    try:
        # Split and joined at the same mark, so that the text stays what it was, byte for byte.
        yield from path.read_text(encoding="utf-8").split(JOINT)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({error.reason}); convert it first") from error


def _read_jsonl(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)[TEXT_COLUMN]
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f'{path} line {number} is not an object like {{"{TEXT_COLUMN}": "..."}} '
                    f"({type(error).__name__}: {error}); each line must be one"
                ) from error
            yield str(text)


def _read_parquet(path: Path) -> Iterator[str]:
    try:
        names = pyarrow.parquet.read_schema(path).names
        if TEXT_COLUMN not in names:
            raise UsageError(
                f"{path} has no column {TEXT_COLUMN!r}, only {', '.join(names)}; rename the one "
                "with the text"
            )
        table = pyarrow.parquet.read_table(path, columns=[TEXT_COLUMN])
    except pyarrow.ArrowInvalid as error:
        raise UsageError(f"{path} is not a Parquet file ({error})") from error
    yield from (str(text) for text in table.column(TEXT_COLUMN).to_pylist() if text is not None)


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _read_text,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
