"""What Prefect's UI shows of a pruning run, an evaluation and a night: a table and a page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.budget import Budget
from autoprune.plain_text import in_code, in_markdown, one_line, shell_line
from autoprune.report.canvas import BLUE, new_canvas
from autoprune.report.layers import by_block
from autoprune.report.page import picture
from autoprune.schemes.card import removed
from tasks.publish import Publisher
from tasks.state import State, without_machine_paths

CELL = 120
# Prefect's tables take a few hundred rows; nobody reads a page with more.
ROWS = 200


def show_pruning(state: State, record: Mapping[str, Any], measured_by: str) -> None:
    """Show what a pruning run gave, where it is saved, and how the zeros spread over the blocks."""
    # The share that a scheme removes follows from the model; its runs share one key.
    shown = Publisher(record["model"], record.get("target"), "prune")
    scheme = "scheme" in record
    facts = _scheme_facts(record) if scheme else _facts(record)
    facts += [("size", record["size"])] if "size" in record else []
    note = _removed(record) if scheme else _zeros(record)
    shown.figures(_table(facts), note)
    parts = [f"# {in_markdown(record['scheme' if scheme else 'metric'], 80)}: {note}"]
    parts += [in_markdown(line) for line in (record.get("recount"), *record["notes"]) if line]
    if record.get("layer_sparsity"):
        parts.append(_layers_picture(record["layer_sparsity"]))
    if record["out"]:
        place = without_machine_paths(str(record["out"]), state.root)
        measure = f"{shell_line('evaluate', record['out'])}{measured_by}"
        measure = without_machine_paths(measure, state.root)
        parts.append(f"Saved in {in_code(place)}; measure it: {in_code(measure)}")
    else:
        parts.append("Nothing was saved: no folder was given under Out.")
    shown.report("\n\n".join(parts))


def show_estimate(record: Mapping[str, Any]) -> None:
    """Show what a streamed run would need."""
    cost = record["estimate"]
    facts = [
        ("memory", f"{cost['memory_mb']:,.0f} MB"),
        *((f"memory for {name}", f"{mb:,.0f} MB") for name, mb in cost["memory_parts_mb"].items()),
        ("disk", f"{cost['disk_mb']:,.0f} MB"),
        ("time", f"{cost['seconds']:,.0f} s"),
    ]
    note = "An estimate of the streamed run; nothing was pruned"
    Publisher(record["model"], record["target"], "prune").figures(_table(facts), note)


def show_evaluation(state: State, record: Mapping[str, Any], where: str, base: str) -> None:
    """Show the figures of an evaluation, what they are compared with, and where they are saved."""
    where = without_machine_paths(where, state.root)
    shown = Publisher(base, None, "evaluate")
    rows = [_figure(row) for row in record["rows"][:ROWS]]
    left = len(record["rows"]) - len(rows)
    more = f", and {left} more in its folder" if left else ""
    shown.figures(rows, f"{len(rows)} figures{more}")
    folder = without_machine_paths(str(record["folder"]), state.root)
    parts = [f"# {in_markdown(record['run'], 80)}"]
    parts += [in_markdown(note) for note in record["notes"]]
    if record["refusal"]:
        parts.append(f"Not compared: {in_markdown(record['refusal'])}")
    picture = _figures_picture(record["rows"])
    parts += [picture] if picture else []
    parts.append(f"Record and rows: {in_code(folder)}")
    shown.report("\n\n".join([*parts, where] if where else parts))
    if where:
        shown.mlflow(where)


def show_night(
    state: State, model: str, budget: Budget, record: Mapping[str, Any], outcome: Sequence[str]
) -> None:
    """Show on a night's own page what its search found and what the gate decided."""
    shown = Publisher(model, budget, "nightly")
    night = record["night"]
    facts = [
        ("date", night["date"]),
        ("search", record["run"]),
        ("best", record["best"] or "none"),
        ("seed", str(night["seed"])),
        ("split of the text", str(night["text_split"])),
        *(("start from earlier nights", start) for start in night["starts"]),
    ]
    shown.figures(_table(facts), f"The night of {night['date']}")
    *lines, verdict = (without_machine_paths(line, state.root) for line in outcome)
    parts = [f"# Night of {night['date']}", f"**{in_markdown(verdict)}**"]
    parts += [in_markdown(line) for line in lines]
    parts.append("Leaderboard, report and figures: artifacts of the subflow runs below.")
    shown.report("\n\n".join(parts))


def _table(facts: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"what": name, "value": one_line(value, CELL)} for name, value in facts]


def _zeros(record: Mapping[str, Any]) -> str:
    return f"{record['zeros']:,} of {record['prunable']:,} prunable weights are zero"


def _removed(record: Mapping[str, Any]) -> str:
    return f"{record['parameters']:,} of {record['parameters_before']:,} parameters are left"


def _scheme_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("scheme", record["scheme"]), *removed(record), *_calibration(record)]


def _calibration(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "corpus" not in record:
        return []
    text = f"{record['samples']} x {record['seqlen']} tokens of {record['corpus']}"
    return [("calibration", text)]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("metric", record["metric"]),
        ("repair", record["solver"]),
        ("budget over the layers", record["allocation"]),
        ("pattern", record["pattern"]),
        ("zeros", f"{record['zeros']:,}"),
        ("prunable weights", f"{record['prunable']:,}"),
        ("sparsity", f"{record['sparsity']:.4%}"),
        *_calibration(record),
    ]
    if found := record["perplexity"]:
        size = f"{found['windows']} x {found['seqlen']} tokens of the selection part"
        facts.append(("perplexity", f"{found['pruned']:.2f} on {size}"))
        facts.append(("perplexity, dense", f"{found['dense']:.2f}"))
    if "allocation_choice" in record:
        tried = record["allocation_choice"]["tried"]
        facts += [(f"loss with {each['allocation']}", f"{each['loss']:.4f}") for each in tried]
    return facts


def _figure(row: Mapping[str, Any]) -> dict[str, str]:
    value, bounds = row["value"], row["interval"]
    return {
        "suite": one_line(row["suite"], CELL),
        "text or task": one_line(row["name"], CELL),
        "metric": one_line(row["metric"], CELL),
        "value": f"{value:.5g}" if value is not None else one_line(row["reason"], CELL),
        "95 % interval": f"{bounds[0]:.5g} to {bounds[1]:.5g}" if bounds else "",
        "unit": one_line(row["unit"], CELL),
    }


def _layers_picture(shares: Mapping[str, float]) -> str:
    blocks = by_block(shares, {})
    return _picture(
        "Zeros by block",
        [str(each.block) for each in blocks],
        [100.0 * each.share for each in blocks],
        "zeros in %",
    )


def _figures_picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """Perplexities with their intervals; empty if there are none."""
    found = [
        row
        for row in rows
        if row["metric"] == "perplexity" and row["value"] and math.isfinite(row["value"])
    ]
    if not found:
        return ""
    errors = [row["interval"] or (row["value"], row["value"]) for row in found]
    bars = [
        (row["value"] - low, high - row["value"])
        for row, (low, high) in zip(found, errors, strict=True)
    ]
    names = [one_line(row["name"], 24) for row in found]
    return _picture("Perplexity", names, [row["value"] for row in found], "perplexity", bars)


def _picture(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    axis: str,
    errors: Sequence[tuple[float, float]] | None = None,
) -> str:
    with new_canvas(3.0) as canvas:
        axes = canvas.axes()
        bars = None if errors is None else [[max(0.0, e[i]) for e in errors] for i in (0, 1)]
        axes.bar(range(len(values)), values, color=BLUE, yerr=bars)
        step = max(1, len(names) // 24)
        axes.set_xticks(range(0, len(names), step), names[::step])
        axes.set_ylabel(axis)
        return picture(title, canvas.png())
