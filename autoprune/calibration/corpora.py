"""Text to calibrate and measure on: named corpora and local files."""

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

from autoprune.calibration.corpus import JOINT, Corpus
from autoprune.calibration.generated import GENERATED, Author, generated_corpus, is_generated
from autoprune.calibration.store import Store
from autoprune.calibration.wikipedia import sample_articles, sample_file
from autoprune.digest import digest_file
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.registry import Registry

__all__ = ["CORPORA", "JOINT", "Author", "Corpus", "load_corpus"]

TEXT_COLUMN = "text"
_C4_DOCUMENTS = 4000


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


@CORPORA.register("wikipedia-sample")
def _wikipedia_sample(cache: Store | None) -> Corpus:
    source = sample_file()

    def write(path: Path) -> None:
        lines = (json.dumps({TEXT_COLUMN: a}, ensure_ascii=False) for a in sample_articles(source))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    if cache is None:
        return Corpus.of("wikipedia-sample", sample_articles(source))
    key = {"kind": "wikipedia-sample", "version": 2, "source": digest_file(source)}
    path, _ = cache.file(key, ".jsonl", write)
    return Corpus.of("wikipedia-sample", _read_jsonl(path))


@CORPORA.register("wikitext2")
def _wikitext2(cache: Store | None) -> Corpus:
    rows = _from_hub("wikitext2", "Salesforce/wikitext", "wikitext-2-raw-v1", split="test")
    return Corpus.of("wikitext2", (row[TEXT_COLUMN] for row in rows), ordered=True)


@CORPORA.register("c4")
def _c4(cache: Store | None) -> Corpus:
    files = {"train": "en/c4-train.00000-of-01024.json.gz"}
    rows = _from_hub("c4", "allenai/c4", data_files=files, split=f"train[:{_C4_DOCUMENTS}]")
    return Corpus.of("c4", (row[TEXT_COLUMN] for row in rows))


@CORPORA.register(GENERATED)
def _self_generated(cache: Store | None) -> Corpus:
    # Without a model this says what to write instead.
    return generated_corpus(GENERATED, None, cache)


def _from_hub(name: str, *args: Any, **kwargs: Any) -> Any:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        return datasets.load_dataset(*args, **kwargs)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise PrerequisiteError(
            f"the corpus {name!r} could not be fetched from the dataset hub ({reason}); connect to "
            "the network once, or use wikipedia-sample or a local .txt, .jsonl or .parquet file"
        ) from error


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
