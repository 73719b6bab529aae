"""Tables of a comparison, made from its record alone."""

from pathlib import Path
from typing import Any

from autoprune.comparison.record import read_record
from autoprune.comparison.result import gather, named_baselines
from autoprune.comparison.writing import require_replaceable, summary, write_all


def tables_of_record(
    folder: str, baselines: list[str] | None, output: str | None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Make a recorded comparison's tables again; neither model nor text is read."""
    place = Path(folder).expanduser().absolute()
    body = read_record(place)
    if baselines:
        methods = list(dict.fromkeys(cell["method"] for cell in body["cells"]))
        body["baselines"] = named_baselines(baselines, methods)
    if output is None:
        return summary(gather(body)) | {"record": str(place)}
    made = Path(output).expanduser().absolute()
    require_replaceable(made, body["model"], overwrite=overwrite)
    return write_all(made, body) | {"record": str(place)}
