"""Suite ``degenerate``: how many greedy continuations fall into a loop.

A pruned model may keep a fair perplexity, which judges one token after a true text, and be unable
to write: it repeats itself (Holtzman and others, arXiv 1904.09751, section 1).
"""

from dataclasses import dataclass

from torch import Tensor

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import greedy_continuations
from autoprune.evaluation.suites.cleaning import ALONE, Surroundings
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.texts import Text, TextPart, not_enough, read_each, read_text
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.text.windows import fewer_than_asked, token_windows

VERSION = 1
GRAM = 4
# A text of people has a share near 1. A loop of p tokens has p different 4-grams in its last half,
# of 29: this finds loops of 14 tokens and fewer.
LEAST_DISTINCT = 0.5
NEW_TOKENS = 64
METRIC = "degenerate"
_SAMPLES = 3


@SUITES.register("degenerate")
@dataclass(frozen=True)
class DegenerateSuite:
    """Share of greedy continuations of 64 tokens whose last half repeats itself.

    A continuation is degenerate if fewer than half of the 4-grams of tokens in its last 32 tokens
    are distinct. It cannot end early: the end token is not allowed.

    Args:
        corpora: Corpora by name or path, whose passages are continued.
        part: The whole corpus, or one of its three parts.
        items: Passages per corpus, spread over all of its documents; all there are where it has
            fewer.
        prompt: Tokens of a passage, its beginning token included.
        batch: Passages computed together.
        seed: Seed of the bootstrap, and of the passages of a whole text.
        text_split: Number of the split that a part is of; it chooses the part's passages too.
    """

    corpora: tuple[str, ...] = ("wikipedia-sample",)
    part: TextPart = "sealed"
    items: int = 100
    prompt: int = 32
    batch: int = 8
    seed: int = 0
    text_split: int = 0

    name = "degenerate"

    def __post_init__(self) -> None:
        if not self.corpora or self.items < 1 or self.prompt < 2 or self.batch < 1:
            raise UsageError(
                f"corpora {self.corpora}, items {self.items}, prompt {self.prompt}, batch "
                f"{self.batch} is not possible; name a corpus, prompt is at least 2, others 1"
            )

    def check(self, loaded: LoadedModel, *, around: Surroundings = ALONE) -> None:
        """Cut all passages; see :class:`autoprune.evaluation.suites.suite.Suite`.

        Raises:
            UsageError: If a corpus is unknown or too short, or a passage and its continuation do
                not fit the model's positions.
            ContaminationError: If a corpus was seen and the policy is ``refuse``.
        """
        limit = getattr(loaded.model.config, "max_position_embeddings", None)
        if limit is not None and self.prompt + NEW_TOKENS > limit:
            raise UsageError(
                f"a prompt of {self.prompt} tokens and {NEW_TOKENS} new ones do not fit the "
                f"model's {limit} positions; lower prompt"
            )
        self._texts(loaded, around)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, around: Surroundings = ALONE
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`.

        Raises:
            UsageError: If a corpus is unknown or too short.
            ContaminationError: If a corpus was seen and the policy is ``refuse``.
        """
        shared = model_protocol(loaded) | {
            "version": VERSION, "part": self.part, "prompt": self.prompt, "new_tokens": NEW_TOKENS,
            "gram": GRAM, "least_distinct": LEAST_DISTINCT, "batch": self.batch, "seed": self.seed,
        }  # fmt: skip
        context = RowContext(self.name, shared, model_provenance(loaded), self.seed)
        texts, lacking = self._texts(loaded, around)
        rows = [context.missing(ref, METRIC, why) for ref, why in lacking.items()]
        return rows + [self._row(loaded, *entry, context, report) for entry in texts]

    def _texts(
        self, loaded: LoadedModel, around: Surroundings
    ) -> tuple[list[tuple[Text, Tensor]], dict[str, str]]:
        def prepared(ref: str) -> tuple[Text, Tensor]:
            text = read_text(loaded, ref, self.part, self.text_split, around, seed=self.seed)
            sizes = (self.items, self.prompt)
            try:
                cut = token_windows(text.corpus, loaded.tokenizer, *sizes, cache=around.cache)
            except UsageError as error:
                raise not_enough(text, error) from error
            return text, cut

        return read_each(self.corpora, around, prepared)

    def _row(
        self, loaded: LoadedModel, text: Text, prompts: Tensor, context: RowContext, report: Report
    ) -> Row:
        name = text.corpus.name
        protocol = {"corpus": text.corpus.digest, "data": digest_json(prompts.tolist())}
        try:
            with finite_logits(loaded.model):
                new = greedy_continuations(
                    loaded, prompts, new_tokens=NEW_TOKENS, batch=self.batch, report=report
                )
        except NotFiniteError as error:
            reason = str(error)
            return context.missing(name, METRIC, reason, status="not_finite", protocol=protocol)
        shares = [distinct_share(row[NEW_TOKENS // 2 :]) for row in new.tolist()]
        shown = [loaded.tokenizer.decode(row) for row in new[:_SAMPLES].tolist()]
        details = {
            **text.details,
            "better": "lower",
            "distinct_share": sum(shares) / len(shares),
            "fewer_windows": fewer_than_asked(
                f"the text {name}", len(prompts), self.items, self.prompt
            ),
            "samples": shown,
        }
        degenerate = [share < LEAST_DISTINCT for share in shares]
        return context.accuracy(name, degenerate, metric=METRIC, protocol=protocol, details=details)


def distinct_share(tokens: list[int]) -> float:
    """Distinct 4-grams of tokens over all of them, from above 0 to 1."""
    grams = [tuple(tokens[start : start + GRAM]) for start in range(len(tokens) - GRAM + 1)]
    return len(set(grams)) / len(grams)
