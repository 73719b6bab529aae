"""The result of a pruning run as text for people."""

from collections.abc import Mapping
from typing import Any

from autoprune.plain_text import shell_line
from autoprune.schemes.card import removed
from flows.prune.params import PruneParams
from flows.terminal.output import pairs

SHOWN_NOTES = 3


def pruning_text(record: Mapping[str, Any], params: PruneParams) -> str:
    """Format what was removed, what it took, where it lies, and the next command."""
    if params.dry_run:
        return _cost(record["estimate"])
    lines = _removed(record) if params.scheme is not None else _zeros(record)
    cost = f"{record['seconds']:.1f} s, peak memory {record['peak_rss_mb']:,.0f} MB"
    lines.append(("time", cost))
    if record.get("resumed"):
        lines.append(("resumed", f"{record['resumed']} blocks were done by a run that was killed"))
    if "program" in record:
        lines.append(("program", _program(record["program"])))
    if record.get("perplexity"):
        lines.append(("perplexity", _figures(record["perplexity"])))
    if "allocation_choice" in record:
        lines.append(("allocation", _choice(record["allocation_choice"])))
    if record.get("recount") and params.scheme is None:
        lines.append(("note", record["recount"]))
    notes = record["notes"]
    lines += [("note", note) for note in notes[:SHOWN_NOTES]]
    if len(notes) > SHOWN_NOTES:
        lines.append(("note", f"and {len(notes) - SHOWN_NOTES} more, see --json"))
    if record["out"]:
        lines.append(("saved", record["out"]))
        if "commit" in record:
            lines.append(("sent", record["commit"]))
        lines.append(("next", f"{shell_line('evaluate', record['out'])}{params.measured_by}"))
    else:
        lines.append(("next", "add --out DIR to keep the pruned model"))
    return pairs(*lines)


def _zeros(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("zeros", f"{record['zeros']:,} of {record['prunable']:,} prunable weights"),
        (
            "sparsity",
            f"{record['sparsity']:.4%}; of all {record['total']:,} parameters "
            f"{record['sparsity_of_all']:.4%}",
        ),
    ]


def _removed(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("scheme", record["scheme"]), *removed(record)]


def _figures(found: Mapping[str, Any]) -> str:
    return (
        f"{found['pruned']:.2f}, dense {found['dense']:.2f}, on {found['windows']} x "
        f"{found['seqlen']} tokens of the text's selection part"
    )


def _program(kept: Mapping[str, Any]) -> str:
    """Say which program ran, and what it was allowed."""
    limits = kept["limits"]
    allowed = f"{limits['seconds']:,.0f} s a block, {limits['memory_mb']:,.0f} MB"
    return f"{kept['name']} {kept['digest'][:12]}; allowed were {allowed}"


def _choice(choice: Mapping[str, Any]) -> str:
    """Say what was chosen, out of how many, and the gain over equal budgets."""
    tried, repaired = choice["tried"], choice["repaired"]
    losses = {item["allocation"]: item["loss"] for item in repaired or tried}
    best = choice["best"]
    line = f"{best}, best of {len(tried)}"
    if repaired:
        other = next(name for name in losses if name != "uniform")
        line += f"; after the repair {other} {_nats(losses[other])} nats per token"
    else:
        line += f": {_nats(losses[best])} nats per token"
    return f"{line} on the selection part, uniform {_nats(losses['uniform'])}"


def _nats(loss: float | None) -> str:
    return "infinite" if loss is None else f"{loss:.4f}"


def _cost(cost: Mapping[str, Any]) -> str:
    parts = (f"{name} {size:,.0f}" for name, size in cost["memory_parts_mb"].items())
    return pairs(
        ("memory", f"{cost['memory_mb']:,.0f} MB, within 20 %: {', '.join(parts)}"),
        ("disk", f"{cost['disk_mb']:,.0f} MB, hidden states until the end included"),
        ("time", f"{cost['seconds']:,.0f} s"),
        ("next", "the same command with --stream and --out DIR instead of --dry-run"),
    )
