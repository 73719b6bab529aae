"""Task that writes the card into a pruned model's folder."""

from pathlib import Path
from typing import Any

from autoprune.models.reference import CARD_FILE, RECORD_FILE
from tasks.recorded import step
from tasks.run_files import RunFiles, read_object
from tasks.state import State


@step("model card", "card of {run_id}")
def write_card(root: str, run_id: str) -> dict[str, Any]:
    """Write README.md of a run's winner from the run's record.

    Args:
        root: The state folder.
        run_id: Name of the run.
    """
    from autoprune.models.reference import resolve
    from autoprune.report.card import base_licence, model_card
    from autoprune.report.data import read_report
    from autoprune.storage import write_text

    files = RunFiles.of(State.open(Path(root)), run_id)
    report = read_report(files.report)
    source = resolve(report.model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    path = files.winner / CARD_FILE
    write_text(path, model_card(report, read_object(files.winner / RECORD_FILE), licence))
    return {"card": str(path), "licence": licence}


@step("model card", "card of {folder}")
def write_prune_card(folder: str, model: str) -> dict[str, Any]:
    """Write README.md of a model that was pruned once, from its own record.

    Args:
        folder: Where it was saved.
        model: Reference of the model that it was made from.
    """
    from autoprune.models.reference import resolve
    from autoprune.report.card import base_licence
    from autoprune.report.prune_card import prune_card
    from autoprune.storage import write_text

    source = resolve(model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    path = Path(folder) / CARD_FILE
    write_text(path, prune_card(read_object(Path(folder) / RECORD_FILE), licence))
    return {"card": str(path), "licence": licence}
