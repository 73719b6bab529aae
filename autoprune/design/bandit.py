"""A cost-aware bandit over operators: what pays, per token and second."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Arm:
    """What is known of one operator.

    Args:
        pulls: How often it was chosen and has reported.
        reward: Sum of gains in nats per token, never negative.
        cost: Sum of seconds.
    """

    pulls: int = 0
    reward: float = 0.0
    cost: float = 0.0


@dataclass
class Bandit:
    """UCB1 on gains scaled by the best gain seen, with a price for slow arms.

    Args:
        arms: Names, in the order in which they are tried first.
        exploration: Weight of the uncertainty term.
        price: Share of an arm's value lost when its pulls cost twice the average.
    """

    arms: Sequence[str]
    exploration: float = 0.5
    price: float = 0.1
    known: dict[str, Arm] = field(default_factory=dict)
    largest: float = 0.0

    def choose(self, available: Sequence[str], planned: Mapping[str, int]) -> str:
        """The next arm.

        Args:
            available: Arms that can be used now, at least one.
            planned: Pulls already planned in this generation, whose reward is not known yet.
        """
        order = [arm for arm in self.arms if arm in available] or list(available)
        pulls = {arm: self.known.get(arm, Arm()).pulls + planned.get(arm, 0) for arm in order}
        untried = [arm for arm in order if pulls[arm] == 0]
        if untried:
            return untried[0]
        total = sum(pulls.values())
        return max(order, key=lambda arm: (self._value(arm, pulls[arm], total), -order.index(arm)))

    def update(self, arm: str, gain: float, cost: float) -> None:
        """Report the outcome of one pull.

        Args:
            gain: Nats per token gained over the better of parent and reference; losses count 0.
            cost: Seconds spent on it.
        """
        entry = self.known.setdefault(arm, Arm())
        entry.pulls += 1
        entry.reward += max(0.0, gain)
        entry.cost += cost
        self.largest = max(self.largest, gain)

    def _value(self, arm: str, pulls: int, total: int) -> float:
        entry = self.known.get(arm, Arm())
        scale = self.largest or 1.0
        mean = entry.reward / scale / pulls
        bonus = self.exploration * math.sqrt(2 * math.log(total) / pulls)
        return mean + bonus - self.price * (self._relative_cost(entry) - 1.0)

    def _relative_cost(self, entry: Arm) -> float:
        spent = sum(arm.cost for arm in self.known.values())
        pulls = sum(arm.pulls for arm in self.known.values())
        if not spent or not entry.pulls:
            return 1.0
        return min(4.0, (entry.cost / entry.pulls) / (spent / pulls))
