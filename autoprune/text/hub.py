"""Corpora on the dataset hub: the texts that papers calibrate on, and those they report on.

Files, first documents and separators are those of the loaders of SparseGPT and Wanda (arXiv
2301.00774, 2306.11695), so figures on a test text are comparable with theirs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from autoprune.errors import PrerequisiteError, reason_of
from autoprune.store import Store
from autoprune.text.corpus import JOINT, SPACE, Corpus

# Branch where the hub keeps Parquet files converted from a script-based dataset.
_CONVERTED = "refs/convert/parquet"


@dataclass(frozen=True)
class HubText:
    """A text on the hub, as an entry in the registry of corpora.

    Args:
        name: Name of the corpus.
        summary: One line on what it is for and what it is.
        dataset: Id on the hub, with its namespace.
        split: A split, or a slice of one, such as ``train[:4000]``.
        config: Configuration of the dataset; None for none.
        file: The only file to fetch; None for all files of the configuration.
        revision: Branch; None for the main one.
        column: Column that holds the text.
        ordered: Whether the rows are consecutive parts of one text.
        joint: Separator between two rows when they are tokenised as one text.
        test: Whether papers report figures on it.
    """

    name: str
    summary: str
    dataset: str
    split: str
    config: str | None = None
    file: str | None = None
    revision: str | None = None
    column: str = "text"
    ordered: bool = False
    joint: str = JOINT
    test: bool = False

    def __call__(self, cache: Store | None) -> Corpus:
        """The corpus, from the cache if it was fetched before."""
        if cache is None:
            return self._corpus(self._texts())
        key = {"kind": "hub", "version": 1, "request": self.request(), "column": self.column}
        return self._corpus(cache.texts(key, self._texts))

    def request(self, split: str | None = None) -> dict[str, Any]:
        """Arguments of ``datasets.load_dataset``."""
        chosen = split or self.split
        found: dict[str, Any] = {"path": self.dataset, "split": chosen}
        if self.config is not None:
            found["name"] = self.config
        if self.file is not None:
            found["data_files"] = {chosen.partition("[")[0]: self.file}
        if self.revision is not None:
            found["revision"] = self.revision
        return found

    def fetch(self, split: str | None = None) -> Any:
        """The rows, a ``datasets.Dataset``."""
        import datasets
        from huggingface_hub import is_offline_mode

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        try:
            return datasets.load_dataset(**self.request(split))
        except Exception as error:
            way = (
                "unset HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE), with which the hub is not asked"
                if is_offline_mode()
                else "connect to the network once"
            )
            raise PrerequisiteError(
                f"the corpus {self.name!r} could not be fetched from the dataset hub "
                f"({reason_of(error)}); {way}, or use wikipedia-sample or a local .txt, .json, "
                ".jsonl or .parquet file"
            ) from error

    def _texts(self) -> Iterator[str]:
        for row in self.fetch():
            yield str(row[self.column])

    def _corpus(self, texts: Iterable[str]) -> Corpus:
        return Corpus.of(self.name, texts, ordered=self.ordered, test=self.test, joint=self.joint)


C4 = HubText(
    "c4",
    "To calibrate: first 4,000 documents of C4's training shard 00000, as papers do",
    "allenai/c4",
    "train[:4000]",
    file="en/c4-train.00000-of-01024.json.gz",
)


def _wikitext2(name: str, summary: str, split: str, *, test: bool = False) -> HubText:
    return HubText(
        name, summary, "Salesforce/wikitext", split, "wikitext-2-raw-v1", ordered=True, test=test
    )


def _ptb(name: str, summary: str, split: str, *, test: bool = False) -> HubText:
    return HubText(
        name, summary, "ptb-text-only/ptb_text_only", split,
        file=f"penn_treebank/{split}/0000.parquet", revision=_CONVERTED, column="sentence",
        ordered=True, joint=SPACE, test=test,
    )  # fmt: skip


TEXTS = (
    C4,
    HubText(
        "c4-validation",
        "For figures: first 1,100 documents of C4's validation shard 00000; papers read the first "
        "256 windows of 2,048 tokens",
        "allenai/c4",
        "validation[:1100]",
        file="en/c4-validation.00000-of-00008.json.gz",
        joint=SPACE,
        test=True,
    ),
    _wikitext2("wikitext2", "For figures: test split of WikiText-2", "test", test=True),
    _wikitext2("wikitext2-train", "To calibrate: training split of WikiText-2", "train"),
    _ptb("ptb", "For figures: test split of the Penn Treebank's text", "test", test=True),
    _ptb("ptb-train", "To calibrate: training split of the Penn Treebank's text", "train"),
)
