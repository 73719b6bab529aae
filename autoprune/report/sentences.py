"""What happened in a run, in plain sentences."""

import math
from collections import Counter
from collections.abc import Sequence

from autoprune.report.benefit import rounding, sizes, speed
from autoprune.report.canvas import asked, number, percent, plain, short_model
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.origin import (
    REFERENCE,
    against_start,
    authorship,
    bounds,
    contrast,
    interval_of,
)

PERPLEXITY = "perplexity"
RANKING = {
    "kl": "distance to the dense model",
    "both": "loss and distance to the dense model together",
}


def summary(report: RunReport) -> list[str]:
    """A few sentences for readers who read nothing else."""
    sentences = [_counts(report)]
    winner = report.winner
    if winner is None:
        return [*sentences, "None of them could be measured, so there is no result to use."]
    sentences += benefit(report)
    sentences.append(_choice(report, winner))
    more = (against_start(report), lead(report), _sealed(report, winner), draws(report))
    sentences += [text for text in more if text]
    return [*sentences, f"{authorship(report)}."]


def benefit(report: RunReport) -> list[str]:
    """The benefit of the winner: size before and after, speed; empty until it is saved."""
    if report.outcome is None:
        return []
    size = sizes(report.outcome, report.quantised)
    gained = speed(report.pattern, scheme_of(report), report.outcome)
    found = [size, gained, rounding(report.outcome)]
    return [f"{sentence}." for sentence in found if sentence]


def scheme_of(report: RunReport) -> str:
    """The scheme that made the winner smaller; empty for zeros."""
    return report.winner.source if report.removes and report.winner is not None else ""


def lead(report: RunReport) -> str:
    """How certain the choice of the winner is; empty if nothing is compared with it."""
    sentences, winner = [], report.winner
    for margin in report.margins:
        show = _as_change if fitness(report) == PERPLEXITY else _as_nats
        text = f"{show(margin.mean)} against {plain(margin.versus, 40)}"
        if margin.interval is not None:
            low, high = margin.interval
            text += f" (95 % {show(low)} to {show(high)}"
            text += ": it may be chance)" if high >= 0 else ")"
        sentences.append(text)
    if not sentences or winner is None:
        return ""
    name = plain(winner.alias, 40)
    return f"Window by window the {fitness(report)} of {name} is {', '.join(sentences)}."


def fitness(report: RunReport) -> str:
    """What recipes are ranked by, in words."""
    return RANKING.get(str(report.spec.get("fitness")), PERPLEXITY)


def draws(report: RunReport) -> str:
    """The winner's figures with other draws of calibration text; empty without any."""
    winner, wanda = report.winner, report.baseline(report.reference)
    if winner is None or not winner.draws:
        return ""
    name, count = plain(winner.alias, 40), len(winner.draws)
    text = f"From {count} draws of calibration text {name} has {_listed(winner.draws)}"
    if wanda is not None and wanda.draws and wanda.id != winner.id:
        text += f", {report.reference_name} {_listed(wanda.draws)}"
    return text + ", on the selection split."


def trust(report: RunReport) -> list[str]:
    """What the figures rest on: protocol, how well few windows rank, repeated measurements."""
    stated = protocol(report)
    sentences = [stated] if stated else []
    if report.rung_correlation is not None:
        sentences.append(
            f"Few windows ranked {report.rung_pairs} recipes as the others did with a rank "
            f"correlation of {report.rung_correlation:.2f}, recipes of one repair among each other."
        )
    if report.layer_correlation is not None:
        ranked = "programs" if report.spec.get("language") == "program" else "masks"
        sentences.append(
            f"The error on a few real layers ranked {report.layer_pairs} {ranked} as the whole "
            f"model did with a rank correlation of {report.layer_correlation:.2f}, those of one "
            f"allocation among each other; it decides nothing."
        )
    if report.forecasts:
        sentences.append(f"Forecasts: {plain(report.forecasts, 300)}.")
    sentences += [
        f"{plain(entry.alias, 40)} has no sealed figure ({plain(entry.sealed_failure, 300)})."
        for entry in report.entries
        if entry.sealed_failure
    ]
    checks = [check for check in report.checks if check.times]
    if checks:
        largest = max(check.largest for check in checks)
        often = ", ".join(f"{plain(check.name, 40)} {check.times}×" for check in checks)
        sentences.append(
            f"Measured again to detect drift: {often}; the largest difference was {largest:.2g} "
            "nats per token."
        )
    return sentences


def protocol(report: RunReport) -> str:
    """How the figures were measured; empty without a specification."""
    spec = report.spec
    if "seqlen" not in spec:
        return ""
    used = {split.name: split.windows for split in report.splits}
    sealed = used.get("sealed") or spec["sealed_windows"]
    first = report.beginning_token
    rounded = spec.get("precision") == "bfloat16"
    products = ", products on selection text in bfloat16" if rounded else ""
    begins = f"beginning token of each window: {first}, " if first else ""
    return (
        f"Protocol: perplexity with the tokenizer of {short_model(report.model)} on "
        f"{spec['selection_windows']} selection and {sealed} sealed windows of "
        f"{spec['seqlen']} tokens of {plain(report.corpus, 60)}, joined and cut without overlap, "
        f"{begins}weights and loss in float32{products}; "
        f"statistics from {spec['calibration_windows']} calibration windows, "
        f"seed {spec['seed']}{_split(report)}. What was stopped has fewer windows."
        f"{dequantised(report, ' Its weights are {}.')}"
    )


def dequantised(report: RunReport, sentence: str = "{}") -> str:
    """``dequantised from Q4_1`` within a sentence; empty for a model that was not quantised."""
    if not report.quantised:
        return ""
    return sentence.format(f"dequantised from {plain(report.quantised, 20)}")


def _split(report: RunReport) -> str:
    return "" if report.sealed_set is None else f", {report.sealed_set.facts}"


def interval(entry: ReportEntry) -> str:
    """The 95 % interval of the change, empty without one."""
    return "" if entry.change_interval is None else bounds(*entry.change_interval)


def sealed_figure(entry: ReportEntry) -> str:
    """Perplexity on the sealed split, or that it failed."""
    return "failed" if entry.sealed_failure else number(entry.sealed_perplexity)


def rung_text(name: str, left_out: str) -> str:
    """Name of a rung, with what its figure leaves out: it must not pass for the recipe's result."""
    return f"{name}, {left_out}" if left_out else name


def duration(seconds: float) -> str:
    """A duration in words people use."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rejections(report: RunReport) -> list[tuple[str, int, str]]:
    """Code, count and one detail of each rejection, most frequent first."""
    rejected = [e for e in report.candidates if e.code]
    counts = Counter(e.code for e in rejected)
    details = {e.code: e.detail for e in reversed(rejected)}
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(code, count, details[code]) for code, count in order]


def _as_change(nats: float) -> str:
    return percent(math.expm1(min(nats, 50.0)), sign=True)


def _as_nats(nats: float) -> str:
    return f"{nats:+.4f} nats per token"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(number(value) for value in values)


def _counts(report: RunReport) -> str:
    candidates = report.candidates
    rejected = sum(bool(e.code) for e in candidates)
    stopped = sum(e.verdict == "stopped" for e in candidates)
    measured = sum(e.measured for e in candidates)
    parts = [f"{measured} measured in full"]
    if stopped:
        parts.append(f"{stopped} stopped early")
    if rejected:
        parts.append(f"{rejected} rejected")
    target = report.goal or f"{asked(report.sparsity)} {report.gone}"
    recipes = "recipe" if len(candidates) == 1 else "recipes"
    was = "was" if len(candidates) == 1 else "were"
    return (
        f"{len(candidates)} {recipes} other than the starts {was} made for pruning "
        f"{short_model(report.model)}{dequantised(report, ' ({})')} to "
        f"{target}: {', '.join(parts)}."
    )


def _choice(report: RunReport, winner: ReportEntry) -> str:
    value = f"{winner.alias}, has perplexity {number(winner.perplexity)}"
    dense = report.dense_perplexity
    unpruned = f" (the unpruned model has {number(dense)})" if dense is not None else ""
    gain, name = winner.change_vs_wanda, report.reference_name
    if gain is None:
        return f"The best, {value} on the selection split{unpruned}."
    if gain >= 0 and fitness(report) != PERPLEXITY:
        return (
            f"The best by {fitness(report)}, {value} on the selection split, {percent(gain)} above "
            f"{name}{unpruned}."
        )
    if gain >= 0:
        how = "equal to" if gain == 0 else f"{percent(gain)} above"
        return (
            f"None beat {name}. The best, {value} on the selection split, {how} {name}{unpruned}."
        )
    whose = "The best" if winner.kind == "candidate" else "No new recipe won. The best"
    text = f"{whose}, {value} on the selection split, {percent(-gain)} below {name}{unpruned}."
    if winner.change_interval is not None and winner.change_interval[1] >= 0:
        text += " The 95 % interval of that difference includes zero: it may be chance."
    return text


def _sealed(report: RunReport, winner: ReportEntry) -> str:
    if winner.sealed_perplexity is None:
        if not winner.sealed_failure:
            return ""
        why = plain(winner.sealed_failure, 300)
        return f"It has no sealed figure ({why}): the one it has is of the text it was chosen on."
    text = f"On {_sealed_name(report)} it has {number(winner.sealed_perplexity)}"
    wanda = report.baseline(report.reference)
    if wanda is not None and wanda.sealed_perplexity:
        gain = winner.sealed_perplexity / wanda.sealed_perplexity - 1
        text += f", {report.reference_name} {number(wanda.sealed_perplexity)}: a change of "
        text += percent(gain, sign=True) + interval_of(contrast(report, REFERENCE, "sealed"))
    return text + "."


def _sealed_name(report: RunReport) -> str:
    """The sealed text and its looks; that no choice was made on it only if none was read."""
    known = report.sealed_set
    if known is None:
        return "the sealed split, of which the number of earlier looks is not on record,"
    if known.earlier:
        return f"{known.title},"
    if known.sharing:
        return f"{known.title} ({known.sharing}),"
    return f"sealed set {known.number}, which no choice was made on,"
