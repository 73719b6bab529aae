"""The model card of a model that a scheme made smaller."""

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.models.licence import card_header, how_to_open, opener, terms_of
from autoprune.models.record import DENSE_COMPARISON
from autoprune.plain_text import in_code
from autoprune.repair import REPAIRS
from autoprune.spelling import split_outside

# What a share refers to, if not to the blocks' parameters.
_OF_OTHERS = {
    "experts": " of the experts",
    "skip": " of the expert computations",
}

# Figures of two models measured side by side: their names and formats.
_FIGURES = {
    "parameters": ("parameters", ","),
    "bytes": ("bytes of the weights", ","),
    "prefill": ("tokens of a prompt read in a second", ",.1f"),
    "decode": ("tokens written in a second after the first", ",.1f"),
    "tokens_per_second": ("tokens written in a second, prompt included", ",.1f"),
    "perplexity": ("perplexity", ",.2f"),
}


def scheme_card(record: Mapping[str, Any], licence: str, more: Sequence[str] = ()) -> str:
    """Write the card: what was removed, by which scheme, and how to open the model.

    Args:
        record: Content of ``autoprune.json``: :meth:`autoprune.schemes.shrink.Shrunk.to_json` with
            ``model``, ``model_digest``, ``seed``, ``notes`` and, if text was read, ``corpus``,
            ``samples`` and ``seqlen``.
        licence: Licence of the base model; empty when unknown.
        more: Further paragraphs, after what was removed.
    """
    rows = {
        "scheme": in_code(record["scheme"]),
        **dict(removed(record)),
        "base model, SHA-256": in_code(record["model_digest"]),
        "seed": str(record["seed"]),
    }
    if "samples" in record:
        size = f"{record['samples']} windows of {record['seqlen']} tokens"
        rows["calibration text"] = f"{in_code(record['corpus'])}, {size}"
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    parts = [
        card_header(licence, record),
        f"# {in_code(record['model'])}, {_share_removed(record)} removed",
        "A smaller model: it has fewer blocks, experts, rows or columns, and no zeros in their "
        f"place{_gain(record)}. {opener(record)}:",
        how_to_open(record),
        f"|  |  |\n|---|---|\n{table}",
        *(f"Note: {note}." for note in record["notes"]),
        *_beside_dense(record),
        *more,
        "Parts of a model that are gone take abilities with them, often unevenly: measure it on "
        "what you need.",
        f"Licence of the base model: {terms_of(licence)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _beside_dense(record: Mapping[str, Any]) -> list[str]:
    """Cost and quality of both models, where they were measured side by side."""
    found = record.get(DENSE_COMPARISON)
    if found is None:
        return []
    lines = ["| measured side by side | dense | this model |", "|---|--:|--:|"]
    for key, (name, form) in _FIGURES.items():
        if key in found["dense"] and key in found["smaller"]:
            cells = " | ".join(format(found[model][key], form) for model in ("dense", "smaller"))
            lines.append(f"| {name} | {cells} |")
    where = f"Perplexity on {found['windows']} windows of the selection part; speed at batch 1."
    return ["\n".join(lines), where]


def _share_removed(record: Mapping[str, Any]) -> str:
    return f"{record['share_removed']:.1%} of its blocks' parameters"


def _gain(record: Mapping[str, Any]) -> str:
    """What its shapes do for speed.

    Removing experts saves no time, since a token uses as many as before, and narrower matrices may
    be slower than the dense ones: runtimes have fast kernels for some sizes only.
    """
    steps = record["steps"]
    if any(step.get("blocks_removed") for step in steps):
        return ", so that there is less to compute for every token"
    narrower = ("neurons_kept", "groups_kept")
    if any(step.get(key) for step in steps for key in narrower):
        return "; whether it is faster depends on the runtime's kernels for these sizes"
    return ""


def removed(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was removed, as rows of name and text."""
    rows: list[tuple[str, str]] = []
    for step in record["steps"]:
        if step["blocks_removed"]:
            rows.append(("blocks removed", ", ".join(map(str, step["blocks_removed"]))))
    for name, what in (("neurons", "neurons of a block"), ("groups", "attention groups of one")):
        before, after = record["facts"].get("width", {}).get(name, (0, 0))
        if isinstance(after, list):
            each = ", ".join(map(str, after))
            rows.append((what, f"{min(after):,} to {max(after):,} of {before:,}: {each}"))
        elif before != after:
            rows.append((what, f"{after:,} of {before:,}"))
    before, after = record["facts"].get("experts", {}).get("experts", (0, 0))
    if before != after:
        rows.append(("experts of a block", f"{after:,} of {before:,}"))
    before, after = record["parameters_before"], record["parameters"]
    of_experts = share_is_of(record["scheme"])
    budget = record.get("budget")
    asked = f", {record['parameters_target']:.2%}{of_experts} asked" if budget is None else ""
    rows.append(
        (
            "parameters",
            f"{after:,} of {before:,}; of those in blocks {record['share_removed']:.2%} removed"
            f"{asked}",
        )
    )
    return rows if budget is None else [*rows, *_reached(budget)]


def share_is_of(scheme: str) -> str:
    """Say in " of the ..." what a scheme's share refers to; empty for the blocks' parameters.

    Args:
        scheme: Its text, repair included; schemes that are combined share the parameters.
    """
    names = [part.partition(":")[0] for part in split_outside(scheme, "+")]
    own = [name for name in names if name not in REPAIRS]
    return "" if len(own) > 1 else _OF_OTHERS.get(own[0], "")


def _reached(budget: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a budget in bytes or speed achieved."""
    before, after = budget["bytes_before"], budget["bytes"]
    removed = f"{after:,} of {before:,}, {budget['bytes_removed']:.2%} removed"
    if "faster" not in budget:
        return [("bytes", f"{removed}, {budget['asked']} asked")]
    times, dense = budget["faster"], budget["tokens_per_second_dense"]
    speed = f"{times * dense:.1f} tokens a second where the dense model has {dense:.1f}"
    return [("bytes", removed), ("speed", f"{speed}: {times:.2f} times, {budget['asked']} asked")]
