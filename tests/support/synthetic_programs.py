"""Programs in a search without a model: a number in them decides how good they are."""

import math
from dataclasses import dataclass

from autoprune.digest import digest_bytes
from autoprune.search.steps import (
    Measure,
    Measurement,
    Outcome,
    Propose,
    Step,
    Validate,
    Validation,
)
from tests.support.synthetic import Synthetic

PROGRAM = (
    "from toolbox import topk\n\n"
    'PARAMS = {{"power": {power}}}\n\n'
    "def prune_layer(W, stats, budget, params):\n"
    "    score = W.abs()\n"
    "    score = score * stats['x_norm'] ** params['power']\n"
    "    return W * topk(score, budget)\n"
)


@dataclass
class Programs(Synthetic):
    """Validates and measures programs by a number in them; the rest as usual."""

    def answer(self, step: Step) -> Outcome:
        recipe = getattr(step, "recipe", None)
        if isinstance(step, Propose):
            self.asked.append(step.step_id)
            return self.designer.complete(step.request)
        if recipe is None or recipe.metric.kind != "program":
            return super().answer(step)
        power = recipe.metric.params.get("power", 0.0)
        if isinstance(step, Validate):
            if power > 1.5:
                return Validation(False, "wrong_budget", "q_proj: 9 of 99 weights")
            signature = digest_bytes(str(power).encode())
            error = 0.03 + 1e-5 * abs(power - 0.7)
            return Validation(True, signature=signature, reconstruction_error=error, seconds=9.0)
        assert isinstance(step, Measure)
        nll = tuple(2.0 + (power - 0.7) ** 2 + 0.01 * w for w in range(step.known, step.windows))
        mean = math.exp(sum(nll) / max(len(nll), 1))
        digest = digest_bytes(f"{power} {recipe.repair}".encode())
        return Measurement(nll, 511 * len(nll), mean, {"l0": 0.5}, digest, 0.5, 9.0)
