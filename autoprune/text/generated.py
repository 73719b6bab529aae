"""Calibration text that the model writes itself, for models whose training text is unavailable.

Documents are sampled at temperature 1 from the beginning-of-text tokens and one random word, so
that they differ (LLM-QAT, arXiv 2305.17888, section 2.1, starts from a random token; Williams and
others, arXiv 2410.17170, compare such text with real text for pruning). It is for calibration
only: :meth:`autoprune.text.corpus.Corpus.measures` refuses it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel, load_model, load_tokenizer
from autoprune.models.reference import resolve
from autoprune.progress import Report, silent
from autoprune.store import Store
from autoprune.text.beginning import beginning_ids
from autoprune.text.chains import write_chains
from autoprune.text.corpus import Corpus
from autoprune.text.sampling import TokenCounter, sample
from autoprune.text.windows import rendering_digest
from autoprune.textform import TextForm

GENERATED = "self-generated"
BATCH = 16
# 2: sampling settings of the checkpoint, such as top_p, have no effect.
VERSION = 2
# Version 2 keeps answers as written, thoughts included.
CHAINS, CHAINS_VERSION = "chains", 2
# The text is tokenised again before it is cut into windows, and the last window must be full.
MARGIN = 1.1


@dataclass(frozen=True)
class Author:
    """The model that writes the text, and how much it should write.

    Args:
        load: Returns the loaded model; called only if nothing is stored.
        digest: SHA-256 of the model's weights.
        tokens: Number of tokens that will be read.
        report: Called with the amount written; a batch of texts takes a minute or more on a CPU.
        tokenizer: Its tokenizer with the chat template; None if nothing is stored by it.
        dtype: Type of its weights in memory, by torch's name.
    """

    load: Callable[[], LoadedModel]
    digest: str
    tokens: int = 16 * 512
    report: Report = silent
    tokenizer: Any = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Generated(TextForm):
    """A corpus written by a model: ``self-generated:seed=1,tokens=20000,model=REF``.

    Args:
        seed: Sampling seed.
        tokens: Minimum number of tokens to write; 0: as many as will be read.
        temperature: Sampling temperature.
        model: Reference of the model that writes; empty: the model being pruned.
        prompts: ``chains``: problems and worked solutions, using the model's chat template;
            ``none``: prose that starts from one random word.
    """

    KIND: ClassVar[str] = "corpus"
    NAME: ClassVar[str] = GENERATED
    SOURCE: ClassVar[str] = "LLM-QAT, arXiv 2305.17888; arXiv 2410.17170"

    seed: int = 0
    tokens: int = 0
    temperature: float = 1.0
    model: str = ""
    prompts: str = "none"

    def __post_init__(self) -> None:
        self._require("seed", self.seed >= 0, "0 or above")
        self._require("tokens", self.tokens >= 0, "0 or above")
        self._require("temperature", self.temperature > 0.0, "above 0")
        self._require("prompts", self.prompts in ("none", CHAINS), f"none or {CHAINS}")

    def corpus(self, author: Author | None, cache: Store | None) -> Corpus:
        """The text, from the cache if it was written before."""
        if self.model:
            wanted = author.tokens if author else Author.tokens
            report = author.report if author else silent
            author = _other_author(self.model, wanted, report)
        if author is None:
            raise UsageError(
                f"the corpus {self.text!r} is written by a model, and none is at hand here; it "
                f"calibrates, with its writer named ({GENERATED}:model=REF), and can never measure"
            )
        tokens = self.tokens or int(MARGIN * author.tokens)
        name = f"{GENERATED}/{author.digest[:12]}"
        load, report, tokenizer = author.load, author.report, author.tokenizer
        if cache is None:
            return Corpus.of(name, self._write(load(), tokens, report), generated=True)
        key: dict[str, Any] = {
            "kind": GENERATED,
            "version": VERSION,
            "model": author.digest,
            "rendering": None if tokenizer is None else rendering_digest(tokenizer),
            "dtype": author.dtype,
            "seed": self.seed,
            "tokens": tokens,
            "temperature": self.temperature,
        }
        if self.prompts == CHAINS:
            key |= {"prompts": CHAINS, "chains": CHAINS_VERSION}
        documents = cache.texts(key, lambda: self._write(load(), tokens, report))
        return Corpus.of(name, documents, generated=True)

    def _write(self, loaded: LoadedModel, tokens: int, report: Report) -> Iterator[str]:
        if self.prompts == CHAINS:
            decode = loaded.tokenizer.decode
            topics = [decode([index]).strip() for index in _first_words(loaded)]
            yield from write_chains(
                loaded, topics, tokens=tokens, seed=self.seed, temperature=self.temperature,
                report=report,
            )  # fmt: skip
            return
        generator = torch.Generator().manual_seed(self.seed)
        words, start = _first_words(loaded), beginning_ids(loaded.tokenizer)
        written = 0
        while written < tokens:
            picked = torch.randint(len(words), (BATCH,), generator=generator).tolist()
            seed = int(torch.randint(2**31, (1,), generator=generator))
            counter = TokenCounter(report, f"{GENERATED} text", written, tokens)
            prompts = [[*start, words[index]] for index in picked]
            rows = sample(loaded, prompts, seed=seed, temperature=self.temperature, counter=counter)
            for (*_, word), new in zip(prompts, rows, strict=True):
                row = [word, *new]
                written += len(row)
                text = loaded.tokenizer.decode(row, skip_special_tokens=True).strip()
                if text:
                    yield text
                if written >= tokens:
                    return


def is_generated(ref: str) -> bool:
    """Whether a corpus reference names self-generated text."""
    return ref.partition(":")[0] == GENERATED


def generated_corpus(ref: str, author: Author | None, cache: Store | None) -> Corpus:
    """The corpus of a reference for which :func:`is_generated` is true."""
    return Generated.from_text(ref.partition(":")[2]).corpus(author, cache)


def _other_author(ref: str, tokens: int, report: Report) -> Author:
    source = resolve(ref)
    return Author(lambda: load_model(ref), source.digest, tokens, report, load_tokenizer(source))


def _first_words(loaded: LoadedModel) -> list[int]:
    """Tokens that begin a word, except special ones; all ordinary tokens if there are none."""
    tokenizer = loaded.tokenizer
    special = set(tokenizer.all_special_ids)
    rows = loaded.model.get_input_embeddings().num_embeddings
    ordinary = [index for index in range(min(len(tokenizer), rows)) if index not in special]
    words = [index for index in ordinary if tokenizer.decode([index]).strip().isalpha()]
    return words or ordinary
