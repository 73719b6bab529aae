"""Tasks that write the card into a pruned model's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.models.licence import base_licence
from autoprune.models.reference import CARD_FILE, resolve
from autoprune.models.saving import SavedModel
from autoprune.report import folder_card
from autoprune.report.card import found_parts, model_card
from autoprune.report.data import RunReport
from autoprune.report.measured_card import with_sections
from autoprune.schemes.card import scheme_card
from autoprune.storage import write_text
from tasks.recorded import task_run


@task_run("model card", "card of {report.run_id}")
def write_card(folder: Path, record: Mapping[str, Any], report: RunReport) -> None:
    """Write the README.md of a run's winner from the run's record."""
    source = resolve(report.model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    if "scheme" in record:
        text = scheme_card(record, licence, found_parts(report, record))
    else:
        text = model_card(report, record, licence)
    write_text(folder / CARD_FILE, text)


@task_run("model card", "card of {saved.folder}")
def write_folder_card(saved: SavedModel) -> str:
    """See :func:`autoprune.report.folder_card.write_folder_card`."""
    return folder_card.write_folder_card(saved, resolve(saved.record["model"]))


@task_run("model card", "figures into the card of {folder}")
def write_figures(folder: str, sections: dict[str, str]) -> Path:
    """Write figures of an evaluation into the README.md of the model's folder."""
    path = Path(folder).expanduser() / CARD_FILE
    card = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, with_sections(card, sections))
    return path
