"""Suite ``degenerate``: how many greedy continuations fall into a loop.

A pruned model may keep a fair perplexity, which scores one token after real text, and still be
unable to write: it repeats itself (Holtzman and others, arXiv 1904.09751, section 1).
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autoprune.errors import UsageError
from autoprune.evaluation.generation import greedy_continuations
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.passages import PassageSuite
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.texts import Text
from autoprune.models.loading import LoadedModel
from autoprune.models.positions import position_limit
from autoprune.progress import Report
from autoprune.text.windows import fewer_than_asked, token_windows

# 2: generation settings of the checkpoint have no effect.
VERSION = 2
GRAM = 4
# Human text has a share near 1. A loop of p tokens has p different 4-grams among the 29 of its last
# half, so this finds loops of 14 tokens and fewer.
LEAST_DISTINCT = 0.5
NEW_TOKENS = 64
METRIC = "degenerate"
_SAMPLES = 3


@SUITES.register("degenerate")
@dataclass(frozen=True)
class DegenerateSuite(PassageSuite[Tensor]):
    """Share of greedy continuations of 64 tokens whose last half repeats itself.

    A continuation is degenerate if fewer than half of the 4-grams of tokens in its last 32 tokens
    are distinct. It cannot end early: the end token is not allowed.

    Args:
        prompt: Tokens of a passage, including the beginning token.
    """

    prompt: int = 32

    name = "degenerate"
    metric = METRIC

    def __post_init__(self) -> None:
        if not self.corpora or self.items < 1 or self.prompt < 2 or self.batch < 1:
            raise UsageError(
                f"corpora {self.corpora}, items {self.items}, prompt {self.prompt}, batch "
                f"{self.batch} is not possible; name a corpus, prompt is at least 2, others 1"
            )

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Cut all passages; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        limit = position_limit(loaded.model)
        if limit is not None and self.prompt + NEW_TOKENS > limit:
            raise UsageError(
                f"a prompt of {self.prompt} tokens and {NEW_TOKENS} new ones do not fit the "
                f"model's {limit} positions; lower prompt"
            )
        self.texts(loaded, resources)

    def protocol(self) -> dict[str, Any]:
        """See :class:`PassageSuite`."""
        sizes = {"prompt": self.prompt, "new_tokens": NEW_TOKENS, "gram": GRAM}
        asked = {"least_distinct": LEAST_DISTINCT, "batch": self.batch}
        return {"version": VERSION, **sizes, **asked}

    def passages(self, loaded: LoadedModel, text: Text, resources: Resources) -> Tensor:
        """See :class:`PassageSuite`; token ids, int64 [passages, prompt]."""
        sizes = (self.items, self.prompt)
        return token_windows(text.corpus, loaded.tokenizer, *sizes, cache=resources.cache)

    def data(self, passages: Tensor) -> Any:
        """See :class:`PassageSuite`."""
        return passages.tolist()

    def answers(
        self, loaded: LoadedModel, text: Text, passages: Tensor, report: Report
    ) -> tuple[list[bool], dict[str, Any]]:
        """See :class:`PassageSuite`; whether the continuation repeats itself."""
        new = greedy_continuations(
            loaded, passages, new_tokens=NEW_TOKENS, batch=self.batch, report=report
        )
        shares = [distinct_share(row[NEW_TOKENS // 2 :]) for row in new.tolist()]
        what = f"the text {text.corpus.name}"
        return [share < LEAST_DISTINCT for share in shares], {
            "better": "lower",
            "distinct_share": sum(shares) / len(shares),
            "fewer_windows": fewer_than_asked(what, len(passages), self.items, self.prompt),
            "samples": [loaded.tokenizer.decode(row) for row in new[:_SAMPLES].tolist()],
        }


def distinct_share(tokens: list[int]) -> float:
    """Share of distinct 4-grams among all 4-grams of the tokens, above 0 and at most 1."""
    grams = [tuple(tokens[start : start + GRAM]) for start in range(len(tokens) - GRAM + 1)]
    return len(set(grams)) / len(grams)
