"""Suite ``lastword``: whether the model would write the last word of a passage.

Items have the form of LAMBADA (arXiv 1606.06031) but are made from any text. The last word already
occurred in the passage, so accuracy shows how well the model still uses long context.
"""

from dataclasses import dataclass
from typing import Any

import torch

from autoprune.errors import UsageError
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.last_words import (
    CONTEXT_WORDS,
    LEAST_LETTERS,
    Passage,
    last_word_passages,
)
from autoprune.evaluation.suites.passages import PassageSuite
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.texts import Text
from autoprune.models.loading import LoadedModel
from autoprune.models.positions import position_limit
from autoprune.progress import Progress, Report
from autoprune.text.beginning import prompt_ids

VERSION = 1
_SAMPLES = 5


@dataclass(frozen=True)
class LastWord:
    """A passage as tokens: what the model reads and what must follow."""

    context: list[int]
    word: list[int]


@SUITES.register("lastword")
@dataclass(frozen=True)
class LastWordSuite(PassageSuite[list[Passage]]):
    """Accuracy of greedy prediction of the last word of passages.

    A word is right if each of its tokens is the most probable one given the passage and the word's
    earlier tokens, as lm-evaluation-harness scores LAMBADA.
    """

    items: int = 200

    name = "lastword"

    def __post_init__(self) -> None:
        if not self.corpora or self.items < 1 or self.batch < 1:
            raise UsageError(
                f"corpora {self.corpora}, items {self.items}, batch {self.batch} is not possible; "
                "name a corpus, the others are at least 1"
            )

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Find all passages; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        texts, _ = self.texts(loaded, resources)
        limit = position_limit(loaded.model)
        for _, passages in texts:
            asked = (question_of(loaded.tokenizer, passage) for passage in passages)
            longest = max(len(one.context) + len(one.word) for one in asked)
            if limit is not None and longest > limit:
                raise UsageError(
                    f"the longest passage has {longest} tokens, and the model {limit} positions; "
                    "take another text or model"
                )

    def protocol(self) -> dict[str, Any]:
        """See :class:`PassageSuite`."""
        sizes = {"context_words": CONTEXT_WORDS, "least_letters": LEAST_LETTERS}
        return {"version": VERSION, **sizes}

    def passages(self, loaded: LoadedModel, text: Text, resources: Resources) -> list[Passage]:
        """See :class:`PassageSuite`."""
        found = last_word_passages(text.corpus, self.items)
        if not found:
            raise UsageError(
                f"the text {text.corpus.name!r} has no passage of {CONTEXT_WORDS} words that "
                f"ends in a word of {LEAST_LETTERS} letters which also occurs earlier in it; "
                "take a longer text"
            )
        return found

    def data(self, passages: list[Passage]) -> Any:
        """See :class:`PassageSuite`."""
        return [[one.context, one.word] for one in passages]

    def answers(
        self, loaded: LoadedModel, text: Text, passages: list[Passage], report: Report
    ) -> tuple[list[bool], dict[str, Any]]:
        """See :class:`PassageSuite`; whether the model would write the word."""
        questions = [question_of(loaded.tokenizer, passage) for passage in passages]
        right: list[bool] = []
        for start in range(0, len(questions), self.batch):
            right += _right(loaded, questions[start : start + self.batch])
            report(Progress(self.name, len(right), len(questions)))
        samples: list[dict[str, Any]] = [{"right": is_right} for is_right in right[:_SAMPLES]]
        # Records are read by designers too, who must not see sealed text.
        if self.part != "sealed":
            for sample, passage in zip(samples, passages, strict=False):
                sample |= {"context": passage.context[-80:], "word": passage.word}
        details: dict[str, Any] = {"samples": samples}
        if len(passages) < self.items:
            details["fewer_windows"] = (
                f"the text {text.corpus.name} holds {len(passages)} passages and {self.items} are "
                "asked for: figures are of all of them"
            )
        return right, details


def question_of(tokenizer: Any, passage: Passage) -> LastWord:
    """Tokens of a passage and of its last word, with the beginning token if there is one.

    Both are encoded as one text, as a model meets them. The word is what follows the tokens that
    the passage has by itself.
    """
    context = prompt_ids(tokenizer, passage.context)
    whole = prompt_ids(tokenizer, f"{passage.context} {passage.word}")
    pairs = zip(context, whole, strict=False)
    common = next((n for n, (one, other) in enumerate(pairs) if one != other), len(context))
    return LastWord(whole[:common], whole[common:])


@torch.inference_mode()
def _right(loaded: LoadedModel, questions: list[LastWord]) -> list[bool]:
    rows = [one.context + one.word for one in questions]
    width = max(map(len, rows))
    # Padding is at the end, where no token attends to it.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    device = loaded.model.device
    logits = loaded.model(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).logits
    found = []
    for one, scores in zip(questions, logits, strict=True):
        start = len(one.context) - 1
        best = scores[start : start + len(one.word)].argmax(-1).tolist()
        found.append(best == one.word)
    return found
