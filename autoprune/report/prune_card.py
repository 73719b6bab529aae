"""The model card of a model pruned by a single `autoprune prune`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.models.licence import card_header, how_to_open, opener, terms_of
from autoprune.plain_text import in_code, in_fence, in_markdown
from autoprune.program_files import in_file
from autoprune.report.benefit import speed, what_it_writes
from autoprune.report.canvas import number, percent


def prune_card(record: Mapping[str, Any], licence: str, size: str = "") -> str:
    """What was pruned, how, and what is not known about it."""
    counted = record["checkpoint"]
    recount = f" {in_markdown(counted['recount'])}." if counted.get("recount") else ""
    rows = {
        "base model": in_code(record["model"]),
        "base model, SHA-256": in_code(record["model_digest"]),
        "weights compete by": in_code(record["group"]),
        "budget over the layers": in_code(record["allocation"]),
        "repair": in_code(record["solver"]),
        "pattern": in_code(record["pattern"]),
        "calibration": "no text was read",
    }
    if "corpus" in record:
        rows["calibration"] = (
            f"{record['samples']} windows of {record['seqlen']} tokens of "
            f"{in_code(record['corpus'])}, seed {record['seed']}"
        )
    cells = ((key, value.replace("|", "\\|")) for key, value in rows.items())
    table = "\n".join(f"| {key} | {value} |" for key, value in cells)
    parts = [
        card_header(licence, record),
        f"# {percent(counted['sparsity'], digits=1)} of the linear weights zero",
        f"{counted['zeros']:,} of {counted['prunable']:,} prunable weights are zero, recounted in "
        f"the saved files.{recount} {opener(record)}. {size}{'. ' if size else ''}"
        f"{speed(record['pattern'])}.",
        how_to_open(record),
        f"{_worth(record)}\n\n{in_fence(_metric(record))}",
        f"|  |  |\n|---|---|\n{table}",
        *filter(None, [what_it_writes(record)]),
        f"Licence of the base model: {terms_of(licence)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _metric(record: Mapping[str, Any]) -> str:
    """The formula or name; of a file its name, since its folder is of one machine, and its code."""
    metric: str = record["metric"]
    if not in_file(metric):
        return metric
    name = Path(metric).name
    # Earlier versions did not keep it.
    code = record.get("metric_code")
    return name if code is None else f"# {name}, SHA-256 {code['digest']}\n{code['source']}"


def _worth(record: Mapping[str, Any]) -> str:
    """By whose choice it was pruned, and what was measured then."""
    preset, found = record.get("preset"), record.get("perplexity")
    how = "by hand" if preset is None else f"with the preset {in_code(preset['quality'])}"
    if found is None:
        return (
            f"Pruned once, {how}: nobody has measured here what it is worth. `autoprune evaluate "
            "FOLDER --card` does, and writes it here."
        )
    rounded = ""
    if kind := found.get("measured_in"):
        rounded = f", in {kind}, before the weights were rounded to the type of the files"
    return (
        f"Pruned once, {how}. Its perplexity is {number(found['pruned'])}, and that of the dense "
        f"model {number(found['dense'])}, on {found['windows']} windows of {found['seqlen']} "
        f"tokens of a part of {in_code(record['corpus'])} that it was not calibrated on{rounded}. "
        "`autoprune evaluate FOLDER --card` measures more, and writes it here."
    )
