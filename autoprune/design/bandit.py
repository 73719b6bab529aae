"""A cost-aware bandit over operators: what gains most nats per token in a second."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# An operator that was never tried is taken for its source's average, worth so many pulls.
PRIOR_PULLS = 1.0
# How much of what the source's other operators showed counts as knowledge of this one.
KINSHIP = 0.25
CHEAPEST, DEAREST = 0.7, 8.0
# Weight of what was seen one pull earlier: early gains are large and say little of later ones.
MEMORY = 0.96


@dataclass
class Arm:
    """What is known of one operator; older pulls count less.

    Args:
        pulls: How often it was chosen and has reported.
        reward: Sum of gains in nats per token, never negative.
        cost: Sum of seconds.
    """

    pulls: float = 0.0
    reward: float = 0.0
    cost: float = 0.0


@dataclass
class Bandit:
    """Upper confidence bound of an arm's gain, divided by what a pull of it costs.

    Arms of one source (the designer, or moves without it) lend each other their averages, so that
    a weak designer loses all its operators' slots after a few pulls and not after one of each.

    Args:
        arms: Names, in the order in which equals are tried.
        sources: Source of each arm; an arm without one stands alone.
        exploration: Weight of the uncertainty, in units of the best gain seen.
    """

    arms: Sequence[str]
    sources: Mapping[str, str] = field(default_factory=dict)
    exploration: float = 0.3
    known: dict[str, Arm] = field(default_factory=dict)
    largest: float = 0.0

    def choose(self, available: Sequence[str], planned: Mapping[str, int]) -> str:
        """The next arm.

        Args:
            available: Arms that can be used now, at least one.
            planned: Pulls already planned in this generation, whose reward is not known yet.
        """
        order = [arm for arm in self.arms if arm in available] or list(available)
        return max(order, key=lambda arm: (self.index(arm, planned), -order.index(arm)))

    def update(self, arm: str, gain: float, cost: float) -> None:
        """Report the outcome of one pull.

        Args:
            gain: Nats per token gained over the best so far; losses count 0.
            cost: Seconds until it could be judged, the designer's and the first rung's.
        """
        for other in self.known.values():
            other.pulls *= MEMORY
            other.reward *= MEMORY
            other.cost *= MEMORY
        self.largest *= MEMORY
        entry = self.known.setdefault(arm, Arm())
        entry.pulls += 1
        entry.reward += max(0.0, gain)
        entry.cost += cost
        self.largest = max(self.largest, gain)

    def index(self, arm: str, planned: Mapping[str, int]) -> float:
        """What a pull promises, per average pull's cost."""
        own, kin, everything = self.known.get(arm, Arm()), self._kin(arm), self._sum(self.known)
        weight = own.pulls + PRIOR_PULLS
        reward = (own.reward + PRIOR_PULLS * _mean(kin.reward, kin)) / weight
        waiting = planned.get(arm, 0)
        others = sum(planned.get(name, 0) for name in self._family(arm)) - waiting
        seen = own.pulls + waiting + KINSHIP * (kin.pulls - own.pulls + others)
        total = everything.pulls + sum(planned.values())
        bonus = self.exploration * math.sqrt(math.log(total + 2.0) / (seen + 1.0))
        return (reward / (self.largest or 1.0) + bonus) / self._relative_cost(own, kin, everything)

    def _relative_cost(self, own: Arm, kin: Arm, everything: Arm) -> float:
        average = _mean(everything.cost, everything)
        if average <= 0.0:
            return 1.0
        prior = _mean(kin.cost, kin) if kin.pulls else average
        expected = (own.cost + PRIOR_PULLS * prior) / (own.pulls + PRIOR_PULLS)
        return min(DEAREST, max(CHEAPEST, expected / average))

    def _family(self, arm: str) -> list[str]:
        source = self.sources.get(arm, arm)
        return [name for name in self.arms if self.sources.get(name, name) == source] or [arm]

    def _kin(self, arm: str) -> Arm:
        return self._sum(self._family(arm))

    def _sum(self, names: Mapping[str, Arm] | Sequence[str]) -> Arm:
        found = [self.known[name] for name in names if name in self.known]
        return Arm(
            sum(a.pulls for a in found), sum(a.reward for a in found), sum(a.cost for a in found)
        )


def _mean(value: float, arm: Arm) -> float:
    return value / arm.pulls if arm.pulls else 0.0
