"""Outcomes of hypotheses: each states a prediction, which results prove right or wrong."""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from autoprune.design.graph import Graph, GraphNode
from autoprune.design.parsing import Prediction

Verdict = Literal["right", "wrong", "unclear", "failed", "open"]


@dataclass(frozen=True)
class Claim:
    """One reason, no matter how often it was given.

    Args:
        text: Its newest wording.
        owner: Alias of the newest mechanism that judged it.
        right: Number of right predictions made with it.
        wrong: Number of wrong ones.
    """

    text: str
    owner: str
    right: int
    wrong: int

    @property
    def supported(self) -> bool:
        """Whether it was right more often than wrong."""
        return self.right > self.wrong


def hypothesis_of(graph: Graph, alias: str) -> GraphNode | None:
    """Return the hypothesis that a mechanism tests; None if no designer stated one."""
    found = graph.targets(alias, "derives_from")
    return next((node for node in found if node.kind == "hypothesis"), None)


def prediction_of(hypothesis: GraphNode | None) -> str:
    """Return the prediction in words, or an empty text; an omitted one is marked as assumed."""
    stated = hypothesis.body.get("prediction") if hypothesis is not None else None
    if stated is None:
        return ""
    return Prediction(**{name: value for name, value in stated.items() if name != "metric"}).text


def verdict_of(graph: Graph, alias: str) -> Verdict:
    """Return what the newest result of a mechanism says about its hypothesis.

    ``unclear``: measured, but the difference may be chance; ``failed``: rejected; ``open``: not
    measured yet.
    """
    hypothesis, newest = hypothesis_of(graph, alias), graph.newest_result(alias)
    if hypothesis is None or newest is None:
        return "open"
    for edge in graph.judgements(hypothesis.alias):
        if edge.source == newest.alias:
            return "right" if edge.kind == "supports" else "wrong"
    return "failed" if newest.body["status"] == "rejected" else "unclear"


def count_predictions(graph: Graph) -> tuple[int, int]:
    """Count the right and the wrong predictions."""
    verdicts = [verdict_of(graph, node.alias) for node in graph.of_kind("mechanism")]
    return verdicts.count("right"), verdicts.count("wrong")


def judged_claims(graph: Graph) -> list[Claim]:
    """Return all judged reasons, alternating between supported and refuted ones.

    Supported ones are ordered by the credit of what they led to, refuted ones newest first.
    """
    known: dict[str, Claim] = {}
    for node in graph.of_kind("mechanism"):
        hypothesis, verdict = hypothesis_of(graph, node.alias), verdict_of(graph, node.alias)
        text = str(hypothesis.body["claim"]) if hypothesis is not None else ""
        if not text or verdict not in ("right", "wrong"):
            continue
        key = " ".join(text.casefold().strip(" .").split())
        before = known.pop(key, Claim(text, node.alias, 0, 0))
        right, wrong = before.right + (verdict == "right"), before.wrong + (verdict == "wrong")
        known[key] = Claim(text, node.alias, right, wrong)
    newest = list(known.values())[::-1]
    credit = graph.credit()
    supported = [claim for claim in newest if claim.supported]
    supported.sort(key=lambda claim: -credit.get(claim.owner, 0.0))
    refuted = [claim for claim in newest if not claim.supported]
    return [c for pair in zip_longest(supported, refuted) for c in pair if c is not None]
