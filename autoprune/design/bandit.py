"""A bandit over operators that maximises the gain in nats per token per share of the limits."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# The average of an operator's source is its prior, with the weight of this many pulls.
PRIOR_PULLS = 1.0
# Weight of a pull of the source's other operators as evidence about this one.
KINSHIP = 0.25
# Decay per pull: early gains are large and say little about later ones.
MEMORY = 0.96
# Lowest price, as a share of the average one; avoids division by zero for free pulls.
LEAST_PRICE = 1e-3


@dataclass(frozen=True)
class SearchLimits:
    """Limits of a search; None means no limit.

    Args:
        seconds: Time for designer, validation and measurement.
        tokens: Tokens of the designer.
        candidates: Number of pulls.
    """

    seconds: float | None = None
    tokens: float | None = None
    candidates: float | None = None

    def share(self, seconds: float, tokens: float) -> float:
        """Sum the shares of the limits that one pull uses; its seconds if no limit is set."""
        used = ((seconds, self.seconds), (tokens, self.tokens), (1.0, self.candidates))
        limited = [(amount, limit) for amount, limit in used if limit]
        return sum(amount / limit for amount, limit in limited) if limited else seconds


@dataclass
class Arm:
    """Statistics of one operator; older pulls count less.

    Args:
        pulls: Number of reported pulls.
        reward: Sum of gains in nats per token, never negative.
        seconds: Total seconds until the pulls could be judged.
        whole: Total seconds that promoted candidates took from then on.
        tokens: Total tokens of the designer.
    """

    pulls: float = 0.0
    reward: float = 0.0
    seconds: float = 0.0
    whole: float = 0.0
    tokens: float = 0.0

    def mean(self, total: float) -> float:
        """Divide a sum by the number of pulls; 0 if there were none."""
        return total / self.pulls if self.pulls else 0.0

    def add(self, other: "Arm") -> None:
        """Count another arm's pulls as this one's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def fade(self) -> None:
        """Decay all statistics by one step."""
        for name, value in vars(self).items():
            setattr(self, name, MEMORY * value)


@dataclass
class Bandit:
    """Bandit by the upper confidence bound of an arm's gain, divided by the price of a pull.

    The price is the share of the set limits that a pull uses, ``(s + W) / S + t / T + 1 / C`` with
    s its seconds until it can be judged, t its tokens, and S, T, C the limits. W is the mean time
    of whole measurements over the pulls of *all* arms: promising candidates are measured longer,
    and their arm should not pay for that.

    Arms of one source (the designer, or moves without it) share their averages, so a weak designer
    loses the slots of all its operators after a few pulls instead of one pull of each.

    Args:
        arms: Names, in the order in which ties are tried.
        sources: Source of each arm; an arm without one stands alone.
        limits: Limits of the search.
        exploration: Weight of the uncertainty, in units of the best gain seen.
    """

    arms: Sequence[str]
    sources: Mapping[str, str] = field(default_factory=dict)
    limits: SearchLimits = SearchLimits()
    exploration: float = 0.3
    known: dict[str, Arm] = field(default_factory=dict)
    largest: float = 0.0

    def choose(self, available: Sequence[str], planned: Mapping[str, int]) -> str:
        """Choose the next arm."""
        order = [arm for arm in self.arms if arm in available] or list(available)
        return max(order, key=lambda arm: (self.index(arm, planned), -order.index(arm)))

    def update(
        self, arm: str, gain: float, seconds: float, *, whole: float = 0.0, tokens: float = 0.0
    ) -> None:
        """Report the outcome of one pull."""
        for other in self.known.values():
            other.fade()
        self.largest = max(MEMORY * self.largest, gain)
        pull = Arm(1.0, max(0.0, gain), seconds, whole, tokens)
        self.known.setdefault(arm, Arm()).add(pull)

    def index(self, arm: str, planned: Mapping[str, int]) -> float:
        """Upper confidence bound of the gain, divided by the price relative to the average pull."""
        own, kin, everything = self.known.get(arm, Arm()), self._kin(arm), _sum(self.known.values())
        weight = own.pulls + PRIOR_PULLS
        reward = (own.reward + PRIOR_PULLS * kin.mean(kin.reward)) / weight
        waiting = planned.get(arm, 0)
        others = sum(planned.get(name, 0) for name in self._family(arm)) - waiting
        seen = own.pulls + waiting + KINSHIP * (kin.pulls - own.pulls + others)
        total = everything.pulls + sum(planned.values())
        bonus = self.exploration * math.sqrt(math.log(total + 2.0) / (seen + 1.0))
        return (reward / (self.largest or 1.0) + bonus) / self._price(own, kin, everything)

    def _price(self, own: Arm, kin: Arm, everything: Arm) -> float:
        """Price of a pull relative to the average one; an untried arm has its source's price."""
        whole = everything.mean(everything.whole)
        average = self.limits.share(
            everything.mean(everything.seconds) + whole, everything.mean(everything.tokens)
        )
        if average <= 0.0:
            return 1.0
        like = kin if kin.pulls else everything
        weight = own.pulls + PRIOR_PULLS
        seconds = (own.seconds + PRIOR_PULLS * like.mean(like.seconds)) / weight
        tokens = (own.tokens + PRIOR_PULLS * like.mean(like.tokens)) / weight
        return max(LEAST_PRICE, self.limits.share(seconds + whole, tokens) / average)

    def _family(self, arm: str) -> list[str]:
        source = self.sources.get(arm, arm)
        return [name for name in self.arms if self.sources.get(name, name) == source] or [arm]

    def _kin(self, arm: str) -> Arm:
        return _sum(self.known[name] for name in self._family(arm) if name in self.known)


def _sum(arms: Iterable[Arm]) -> Arm:
    total = Arm()
    for arm in arms:
        total.add(arm)
    return total
