"""Suite ``lm``: perplexity, bits per byte and distance to the dense model, with intervals."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.intervals import bootstrap_mean
from autoprune.evaluation.kl import DEFAULT_TOP, dense_predictions
from autoprune.evaluation.perplexity import Evaluation, evaluate_windows
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.texts import (
    Lacking,
    Text,
    TextPart,
    distinct_names,
    missing_rows,
    not_enough,
    read_each,
    read_text,
)
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.structure import text_config
from autoprune.progress import Report, silent
from autoprune.text.beginning import beginning_ids
from autoprune.text.corpus import Corpus
from autoprune.text.windows import fewer_than_asked, token_windows

# 2: every window starts with the beginning token; windows are spread over all documents.
VERSION = 2
_ALL_WINDOWS = 1 << 40


@dataclass(frozen=True)
class TextWindows:
    """A text and its windows, ready to be measured on.

    Args:
        text: The text.
        windows: Token ids ``[windows, seqlen]``.
    """

    text: Text
    windows: Tensor

    @property
    def corpus(self) -> Corpus:
        """What is left of the text."""
        return self.text.corpus


@SUITES.register("lm")
@dataclass(frozen=True)
class LanguageSuite:
    """Loss on running text, by the standard protocol.

    Documents are joined as their corpus says and tokenised once. Windows do not overlap, and the
    tail is dropped. Each begins with what the tokenizer puts before a text; every token but the
    first of a window is scored; the loss is computed in float32. Windows are spread over all
    documents. Where papers report figures on a whole text, its first windows are taken.

    Args:
        corpora: Corpora by name or path.
        part: The whole corpus, or one of the three parts of :func:`autoprune.text.splits`.
        windows: Windows per corpus; None for all.
        seqlen: Tokens of a window.
        batch: Windows computed together; changes time and memory, not the figure.
        seed: Seed of the bootstrap, and of the windows of a whole text.
        text_split: Number of the split that a part belongs to.
        dense: Reference of the dense model, to measure the distance to it; None to skip that.
    """

    corpora: tuple[str, ...] = ("wikipedia-sample",)
    part: TextPart = "all"
    windows: int | None = None
    seqlen: int = 512
    batch: int = 4
    seed: int = 0
    text_split: int = 0
    dense: str | None = None

    name = "lm"

    def __post_init__(self) -> None:
        if not self.corpora or (self.windows or 1) < 1 or self.seqlen < 2 or self.batch < 1:
            raise UsageError(
                f"corpora {self.corpora}, windows {self.windows}, seqlen {self.seqlen}, batch "
                f"{self.batch} is not possible; name a corpus, seqlen is at least 2, others 1"
            )

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Cut all windows; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        self._texts(loaded, resources)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        shared = model_protocol(loaded) | {
            "version": VERSION, "part": self.part, "seqlen": self.seqlen, "seed": self.seed,
        }  # fmt: skip
        context = RowContext(self.name, shared, model_provenance(loaded), self.seed)
        prepared, lacking = self._texts(loaded, resources)
        rows = missing_rows(lacking, "perplexity", context)
        dense, reason = self._load_dense(loaded) if prepared else (None, "")
        distances = []
        for text in prepared:
            found = self._measure(loaded, dense, text.windows, report)
            rows += self._loss_rows(loaded, text, found, context)
            if dense is not None:
                distances.append(self._distance_row(text, found, dense, context))
            elif reason:
                distances.append(context.missing(text.corpus.name, "kl_to_dense", reason))
        return rows + distances

    def _measure(
        self, loaded: LoadedModel, dense: LoadedModel | None, windows: Tensor, report: Report
    ) -> Evaluation:
        """Losses, and with a dense model the distance to it: each model runs once."""
        wanted = None
        if dense is not None:
            wanted = dense_predictions(dense.model, windows, report=report, batch=self.batch)
        return evaluate_windows(
            loaded.model, windows, report=report, batch=self.batch, dense=wanted
        )

    def _texts(
        self, loaded: LoadedModel, resources: Resources
    ) -> tuple[list[TextWindows], Lacking]:
        """The texts to measure on, and the reason for each reference that is unavailable."""
        prepared, lacking = read_each(
            self.corpora, resources, lambda ref: self._prepare(loaded, ref, resources)
        )
        texts = distinct_names([entry.text for entry in prepared])
        named = [replace(e, text=text) for e, text in zip(prepared, texts, strict=True)]
        return named, lacking

    def _prepare(self, loaded: LoadedModel, ref: str, resources: Resources) -> "TextWindows":
        text = read_text(loaded, ref, self.part, self.text_split, resources, seed=self.seed)
        count = self.windows or _ALL_WINDOWS
        try:
            windows = token_windows(
                text.corpus, loaded.tokenizer, count, self.seqlen, cache=resources.cache
            )
        except UsageError as error:
            raise not_enough(text, error) from error
        return TextWindows(text, windows)

    def _loss_rows(
        self, loaded: LoadedModel, text: "TextWindows", result: Evaluation, context: RowContext
    ) -> list[Row]:
        corpus, windows = text.corpus, text.windows
        mean, interval = bootstrap_mean(result.nll, seed=self.seed)
        protocol = _data_protocol(corpus, windows)
        bytes_per_token = _bytes_per_token(loaded.tokenizer, windows)
        details = {
            "tokens": result.tokens, "seconds": result.seconds, "nats_per_token": _finite(mean),
            "bytes_per_token": bytes_per_token, "item_unit": "nats per token",
            "starts_with_beginning_token": bool(beginning_ids(loaded.tokenizer)),
            **text.text.details,
            "fewer_windows": fewer_than_asked(
                f"the text {corpus.name}", len(windows), self.windows or 1, self.seqlen
            ),
        }  # fmt: skip
        bits = 1 / (math.log(2) * bytes_per_token)
        exponentials = (_exp(interval[0]), _exp(interval[1])) if interval else None
        scaled = (interval[0] * bits, interval[1] * bits) if interval else None
        return [
            context.figure(
                corpus.name, "perplexity", result.perplexity, interval=exponentials,
                items=result.nll, protocol=protocol, details=details,
            ),
            context.figure(
                corpus.name, "bits_per_byte", mean * bits, unit="bits", interval=scaled,
                items=tuple(value * bits for value in result.nll), protocol=protocol,
                details={"bytes_per_token": bytes_per_token, "item_unit": "bits per byte"},
            ),
        ]  # fmt: skip

    def _load_dense(self, loaded: LoadedModel) -> tuple[LoadedModel | None, str]:
        """The dense model if one is named, or why it is unavailable; the losses are still valid."""
        if self.dense is None:
            return None, ""
        try:
            dense = load_model(self.dense, dtype=loaded.model.dtype)
            sizes = [text_config(one.model).vocab_size for one in (dense, loaded)]
            if sizes[0] != sizes[1]:
                raise UsageError(
                    f"the dense model {self.dense!r} has {sizes[0]} tokens, the measured one "
                    f"{sizes[1]}; name the model it was made from"
                )
        except AutopruneError as error:
            return None, str(error)
        return dense, ""

    def _distance_row(
        self, text: "TextWindows", found: Evaluation, dense: LoadedModel, context: RowContext
    ) -> Row:
        mean, interval = bootstrap_mean(found.kl, seed=self.seed)
        protocol = _data_protocol(text.corpus, text.windows) | {
            "dense": dense.source.digest, "top": DEFAULT_TOP,
        }  # fmt: skip
        return context.figure(
            text.corpus.name, "kl_to_dense", mean, unit="nats per token", interval=interval,
            items=found.kl, protocol=protocol, details={"item_unit": "nats per token"},
        )  # fmt: skip


def _data_protocol(corpus: Corpus, windows: Tensor) -> dict[str, Any]:
    return {"corpus": corpus.digest, "windows": len(windows)}


def _bytes_per_token(tokenizer: Any, windows: Tensor) -> float:
    """UTF-8 bytes of the windows' text per token.

    A character cut between two windows counts as one replacement character in each: about one byte
    in a thousand at 512 tokens.
    """
    texts = [
        tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for row in windows.tolist()
    ]
    counted = sum(len(text.encode()) for text in texts)
    special = torch.tensor(sorted(tokenizer.all_special_ids), dtype=windows.dtype)
    tokens = windows.numel() - int(torch.isin(windows, special).sum())
    return max(counted, 1) / max(tokens, 1)


def _exp(value: float) -> float:
    # The bound of an interval may overflow where the figure itself does not.
    return math.exp(min(value, 700.0))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
