"""Best of n: the sampled reply that a step verifier trusts most."""

import re
from collections.abc import Sequence

from autoprune.progress import Report, silent
from autoprune.verify import Chain, StepVerifier, chain_score
from autoprune.verify.verifier import Choice

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def reply_steps(reply: str) -> tuple[str, ...]:
    """Steps of a reply: its sentences and lines; none for an empty one."""
    return tuple(part for part in map(str.strip, _SENTENCE.split(reply)) if part)


def best_replies(
    verifier: StepVerifier,
    questions: Sequence[str],
    replies: Sequence[Sequence[str]],
    by: Choice,
    report: Report = silent,
) -> list[int]:
    """Index of the best reply to each question; the first of those with equal scores."""
    chains = [
        Chain(question, reply_steps(reply))
        for question, some in zip(questions, replies, strict=True)
        for reply in some
    ]
    # A reply without steps is not read, and is chosen last.
    read = [chain for chain in chains if chain.steps]
    found = iter(verifier.score_chains(read, report))
    scores = iter([chain_score(next(found), by) if chain.steps else 0.0 for chain in chains])
    best = []
    for some in replies:
        own = [next(scores) for _ in some]
        best.append(own.index(max(own)))
    return best
