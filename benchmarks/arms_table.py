"""Arms of a search as a table with contrasts paired by seed, and as a picture with bands."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.evaluation.contrasts import Contrast, holm
from autoprune.search.paired import Difference, paired_difference
from benchmarks.table import change_text, corrected_changes

Cell = Mapping[str, Any]
Cells = Mapping[tuple[str, int], Cell]
# Of the best recipe that any arm of a seed found: within it a search is as good as that one.
NEAR = math.log(1.01)


def table_of(
    cells: Cells, arms: Sequence[str], subject: str, found: Mapping[str, Difference]
) -> list[dict[str, Any]]:
    """One row for each arm; perplexities as shares of the reference's on the same text.

    Args:
        cells: What came out of each search, by arm and seed.
        arms: In the order of the rows; those without a search are left out.
        subject: The arm whose contrasts are printed.
        found: Its :func:`contrasts`; Holm's correction is over all of them.
    """
    present = [arm for arm in arms if any(name == arm for name, _ in cells)]
    words = dict(zip(found, corrected_changes(list(found.values())), strict=True))
    near = evaluations_until_near(cells)
    return [
        {**_row(arm, cells, near), f"{subject} against it": words.get(arm, "-")} for arm in present
    ]


def contrasts(cells: Cells, subject: str, rivals: Sequence[str]) -> dict[str, Difference]:
    """Log ratio of the subject's sealed perplexity to each rival's over common seeds.

    Below 0 the subject is better. A rival with no common seed has none.

    Args:
        cells: What came out of each search, by arm and seed.
        subject: The arm that is compared.
        rivals: Arms, or several joined by commas: the one with the best mean is taken.
    """
    found = {}
    for rival in dict.fromkeys(_better(cells, subject, names.split(",")) for names in rivals):
        pairs = [
            (_log(cells[subject, seed]), _log(cell))
            for (arm, seed), cell in sorted(cells.items())
            if arm == rival != subject and (subject, seed) in cells
        ]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known:
            found[rival] = paired_difference([a for a, _ in known], [b for _, b in known])
    return found


def detectable(found: Mapping[str, Difference]) -> dict[str, float]:
    """The smallest relative change that each contrast would have found with 80 %."""
    # Seeds take the place of windows; Student's t has neither draws nor skew.
    known = {
        rival: Contrast(one.mean, one.error, 0.0, 0.0, one.windows, 1)
        for rival, one in found.items()
        if one.windows > 1
    }
    return {rival: math.expm1(one.detectable(len(found))) for rival, one in known.items()}


def adjusted(found: Mapping[str, Difference]) -> dict[str, float]:
    """Holm's p of each contrast."""
    return dict(zip(found, holm([one.p for one in found.values()]), strict=True))


def evaluations_until_near(cells: Cells) -> dict[tuple[str, int], int | None]:
    """Recipes measured until within 1 % of the best of the seed on selection text; None: never."""
    best: dict[int, float] = {}
    for (_, seed), cell in cells.items():
        best[seed] = min(best.get(seed, math.inf), *cell["curve"])
    return {
        (arm, seed): next((n for n, s in enumerate(cell["curve"]) if s <= best[seed] + NEAR), None)
        for (arm, seed), cell in cells.items()
    }


def _row(arm: str, cells: Cells, near: Mapping[tuple[str, int], int | None]) -> dict[str, Any]:
    own = {seed: cell for (name, seed), cell in cells.items() if name == arm}
    row: dict[str, Any] = {"arm": arm, "seeds": len(own)}
    for part in ("selection", "sealed"):
        values = [ratio(cell, part) for cell in own.values()]
        known = [value for value in values if value is not None]
        row[f"{part} / {reference_of(cells)}"] = interval(known)
    made = sum(cell["evaluations"] for cell in own.values())
    better = sum(cell["breakthroughs"] for cell in own.values())
    reached = [near[arm, seed] for seed in own]
    row["evaluations"] = mean([c["evaluations"] for c in own.values()])
    row["until 1 % of best"] = ", ".join("-" if n is None else str(n) for n in reached)
    row["breakthroughs"] = f"{better / made:.1%}" if made else "-"
    row["duplicates"] = mean([c["duplicates"] for c in own.values()])
    row["rejected"] = mean([c["rejected"] for c in own.values()])
    row["tokens"] = mean([c["tokens"] for c in own.values()])
    row["all s"] = mean([c["seconds"] for c in own.values()])
    graded = [c["forecasts"] for c in own.values() if c["forecasts"]]
    hits, base, count = (sum(f[key] for f in graded) for key in ("hits", "base", "graded"))
    row["forecasts"] = f"{hits / count:.0%} (base {base / count:.0%})" if count else "-"
    return row


def reference_of(cells: Cells) -> str:
    """The start that perplexities are shares of; of searches on recipes it is Wanda."""
    return str(next(iter(cells.values())).get("reference", "Wanda"))


def _better(cells: Cells, subject: str, names: Sequence[str]) -> str:
    """The arm with the lowest mean log perplexity on sealed text, by the reference's.

    Over the seeds that all of them and the subject have: others may have been harder.
    """
    common = set.intersection(*({n for arm, n in cells if arm == a} for a in (subject, *names)))

    def centre(name: str) -> float:
        values = [ratio(cells[name, seed], "sealed") for seed in sorted(common)]
        known = [math.log(value) for value in values if value]
        return mean(known) if known else math.inf

    return min(names, key=centre)


def _log(cell: Cell) -> float | None:
    value = ratio(cell, "sealed")
    return math.log(value) if value else None


def ratio(cell: Cell, part: str) -> float | None:
    """Perplexity of the best by the reference's; 1 where nothing beat it, None if one has none."""
    base = cell[f"reference_{part}"]
    if base is None or (cell["best"] is not None and cell[part] is None):
        return None
    return float((cell[part] or base) / base)


def interval(values: Sequence[float]) -> str:
    """Geometric mean with its 95 % interval."""
    if not values:
        return "-"
    found = paired_difference([math.log(v) for v in values], [0.0] * len(values))
    centre = f"{math.exp(found.mean):.3f}"
    if found.windows < 2:
        return centre
    return f"{centre} [{math.exp(found.low):.3f}, {math.exp(found.high):.3f}]"


def sentences(found: Mapping[str, Difference], subject: str) -> list[str]:
    """Each contrast in a line, with Holm's p, and what could have been seen."""
    ps = adjusted(found)
    lines = [
        f"{subject} against {rival}: {change_text(one)}, p {ps[rival]:.3f} of {len(found)} (Holm)"
        for rival, one in found.items()
    ]
    seen = detectable(found).items()
    return lines + [f"smallest change against {r} found with 80 %: {s:.1%}" for r, s in seen]


def filled(curves: Sequence[Sequence[float]]) -> list[list[float]]:
    """Curves of one length; a search that ended keeps its best."""
    longest = max(map(len, curves))
    return [[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves]


def draw(path: Path, cells: Cells, arms: Sequence[str]) -> None:
    """Best so far over evaluations on selection text: mean over seeds, band from least to most."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for arm in arms:
        curves = [cell["curve"] for (name, _), cell in cells.items() if name == arm]
        if not curves:
            continue
        steps = list(zip(*filled(curves), strict=True))
        centre = [math.exp(mean(values)) for values in steps]
        (line,) = axes.step(range(len(steps)), centre, where="post", label=arm)
        low, high = ([math.exp(end(values)) for values in steps] for end in (min, max))
        axes.fill_between(
            range(len(steps)), low, high, step="post", alpha=0.1, color=line.get_color()
        )
    axes.set_xlabel("recipes measured on all selection windows")
    axes.set_ylabel(f"perplexity of the best so far / {reference_of(cells)}")
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def mean(values: Sequence[float]) -> float:
    """Plain mean."""
    return math.fsum(values) / len(values) if values else 0.0
