"""What Prefect's UI shows of a comparison: its table, what it recommends, the picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.plain_text import in_code, in_markdown, one_line
from autoprune.report.page import picture
from tasks.publish import CELL, Publisher
from tasks.state import State, without_machine_paths

PICTURE = "pareto.png"
TITLE = "Perplexity against sparsity"


def show_comparison(state: State, record: Mapping[str, Any], name: str, place: str) -> None:
    """Show a comparison's table, recommendation and picture, and where its files are."""
    shown = Publisher(record["model"], None, "compare")
    targets = [entry["target"] for entry in record["recommendation"]]
    heads = [one_line(head, CELL) for head in ("method", *targets)]
    rows = [
        dict(zip(heads, (one_line(cell, CELL) for cell in row), strict=True))
        for row in record["overview"]
    ]
    shown.figures(rows, f"Sealed perplexity; in brackets: against {record['baseline']}")
    parts = [f"# {in_markdown(name, 80)}"]
    parts += [in_markdown(entry["text"]) for entry in record["recommendation"]]
    parts += [in_markdown(line) for line in record["missing"]]
    folder = Path(record["folder"])
    parts.append(picture(TITLE, (folder / PICTURE).read_bytes()))
    parts.append(f"Files: {in_code(without_machine_paths(str(folder), state.root))}")
    if place:
        place = without_machine_paths(place, state.root)
        shown.mlflow(place)
        parts.append(place)
    shown.report("\n\n".join(parts))
