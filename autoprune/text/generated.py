"""Calibration text that the model writes itself: for models whose training text nobody has.

Documents are sampled at temperature 1 from the beginning-of-text tokens and one random word, so
that they differ (LLM-QAT, arXiv 2305.17888, section 2.1, starts from a random token; Williams and
others, arXiv 2410.17170, compare such text with real text for pruning). It calibrates only:
:meth:`autoprune.text.corpus.Corpus.measures` refuses it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteriaList

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel, load_model
from autoprune.progress import Progress, Report, silent
from autoprune.store import Store
from autoprune.text.beginning import beginning_ids
from autoprune.text.corpus import Corpus
from autoprune.textform import TextForm

GENERATED = "self-generated"
BATCH = 16
LONGEST = 512
SHORTEST = 32
# A text is cut into windows after it is tokenised anew, and the last window must be full.
MARGIN = 1.1


@dataclass(frozen=True)
class Author:
    """The model that writes, and how much is wanted of it.

    Args:
        load: Gives the loaded model; called only when nothing is stored.
        digest: SHA-256 of the model's weights.
        tokens: Tokens that will be read.
        report: Called with how much is written; a batch of texts takes a minute or more on a
            processor.
    """

    load: Callable[[], LoadedModel]
    digest: str
    tokens: int = 16 * 512
    report: Report = silent


@dataclass(frozen=True)
class Generated(TextForm):
    """A corpus written by a model: ``self-generated:seed=1,tokens=20000,model=REF``.

    Args:
        seed: Of the sampling.
        tokens: At least so many tokens are written; 0: as many as will be read.
        temperature: Of the sampling.
        model: Reference of the model that writes; empty: the one that is pruned.
    """

    KIND: ClassVar[str] = "corpus"
    NAME: ClassVar[str] = GENERATED
    SOURCE: ClassVar[str] = "LLM-QAT, arXiv 2305.17888; arXiv 2410.17170"

    seed: int = 0
    tokens: int = 0
    temperature: float = 1.0
    model: str = ""

    def __post_init__(self) -> None:
        self._require("seed", self.seed >= 0, "0 or above")
        self._require("tokens", self.tokens >= 0, "0 or above")
        self._require("temperature", self.temperature > 0.0, "above 0")

    def corpus(self, author: Author | None, cache: Store | None) -> Corpus:
        """The text, from the cache where it was written before.

        Args:
            author: The model that is being pruned; None where the caller has none.
            cache: Keeps the text.

        Raises:
            UsageError: If there is no model to write it.
        """
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
        load, report = author.load, author.report
        if cache is None:
            return Corpus.of(name, self._write(load(), tokens, report), generated=True)
        key = {
            "kind": GENERATED,
            "version": 1,
            "model": author.digest,
            "seed": self.seed,
            "tokens": tokens,
            "temperature": self.temperature,
        }
        documents = cache.texts(key, lambda: self._write(load(), tokens, report))
        return Corpus.of(name, documents, generated=True)

    def _write(self, loaded: LoadedModel, tokens: int, report: Report) -> Iterator[str]:
        generator = torch.Generator().manual_seed(self.seed)
        words = _first_words(loaded)
        written = 0
        while written < tokens:
            picked = torch.randint(len(words), (BATCH,), generator=generator).tolist()
            seed = int(torch.randint(2**31, (1,), generator=generator))
            told = _Told(report, written, tokens)
            rows = self._sample(loaded, [words[index] for index in picked], seed, told)
            for row in rows:
                written += len(row)
                text = loaded.tokenizer.decode(row, skip_special_tokens=True).strip()
                if text:
                    yield text
                if written >= tokens:
                    return

    @torch.no_grad()
    def _sample(
        self, loaded: LoadedModel, words: list[int], seed: int, told: "_Told"
    ) -> list[list[int]]:
        device, tokenizer = loaded.model.device, loaded.tokenizer
        start = beginning_ids(tokenizer)
        prompts = torch.tensor([[*start, word] for word in words], device=device)
        end = tokenizer.eos_token_id
        limit = getattr(loaded.model.config, "max_position_embeddings", None) or LONGEST
        longest = max(min(LONGEST, limit - prompts.shape[1]), 1)
        pad = next((t for t in (tokenizer.pad_token_id, end) if t is not None), 0)
        told.ends = tuple({token for token in (pad, end) if token is not None})
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            output = loaded.model.generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                generation_config=GenerationConfig(
                    max_new_tokens=longest,
                    min_new_tokens=min(SHORTEST, longest),
                    do_sample=True,
                    temperature=self.temperature,
                    top_k=0,
                    pad_token_id=pad,
                    eos_token_id=end,
                    use_cache=True,
                ),
                stopping_criteria=StoppingCriteriaList([told]),
            )
        return [_until(row, end) for row in output[:, len(start) :].tolist()]


@dataclass
class _Told:
    """A stopping criterion of transformers that reports at every step, and never stops.

    Args:
        report: Called with how many tokens there are.
        before: Tokens of the batches before.
        total: Tokens wanted.
        ends: What stands at and behind the end of a text that is shorter than its batch.
    """

    report: Report
    before: int
    total: int
    ends: tuple[int, ...] = ()

    def __call__(self, input_ids: Tensor, scores: Tensor, **others: Any) -> Tensor:
        """Report; input_ids [b, n] -> False for every row, bool [b]."""
        ended = torch.isin(input_ids, input_ids.new_tensor(self.ends))
        done = min(self.before + int((~ended).sum()), self.total - 1)
        self.report(Progress(f"{GENERATED} text", done, self.total, "tokens"))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def is_generated(ref: str) -> bool:
    """Whether a corpus reference names self-generated text."""
    return ref.partition(":")[0] == GENERATED


def generated_corpus(ref: str, author: Author | None, cache: Store | None) -> Corpus:
    """The corpus of a reference for which :func:`is_generated` holds.

    Raises:
        UsageError: If a setting is wrong or no model is at hand.
    """
    return Generated.from_text(ref.partition(":")[2]).corpus(author, cache)


def _other_author(ref: str, tokens: int, report: Report) -> Author:
    from autoprune.models.reference import resolve

    return Author(lambda: load_model(ref), resolve(ref).digest, tokens, report)


def _until(row: list[int], end: Any) -> list[int]:
    """The tokens before the end token; behind it there is only padding."""
    return row[: row.index(end, 1)] if end in row[1:] else row


def _first_words(loaded: LoadedModel) -> list[int]:
    """Tokens that begin a word, special ones left out; all ordinary tokens where none does."""
    tokenizer = loaded.tokenizer
    special = set(tokenizer.all_special_ids)
    rows = loaded.model.get_input_embeddings().num_embeddings
    ordinary = [index for index in range(min(len(tokenizer), rows)) if index not in special]
    words = [index for index in ordinary if tokenizer.decode([index]).strip().isalpha()]
    return words or ordinary
