"""Tasks that write the card into a pruned model's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.models.gguf_reading import quantisation
from autoprune.models.licence import base_licence
from autoprune.models.reference import CARD_FILE, resolve
from autoprune.models.saved_type import saved_size, weight_bytes
from autoprune.models.saving import SavedModel
from autoprune.report.benefit import Outcome, sizes, what_it_writes
from autoprune.report.card import found_parts, model_card
from autoprune.report.data import RunReport
from autoprune.report.measured_card import with_sections
from autoprune.report.program_card import SOURCE_FILE, program_card
from autoprune.report.prune_card import prune_card
from autoprune.schemes.card import scheme_card
from autoprune.storage import write_text
from tasks.recorded import task_run


@task_run("model card", "card of {report.run_id}")
def write_card(folder: Path, record: Mapping[str, Any], report: RunReport) -> None:
    """Write the README.md of a run's winner from the run's record.

    Args:
        folder: The winner's.
        record: How it was made.
        report: The run's record.
    """
    source = resolve(report.model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    if "scheme" in record:
        text = scheme_card(record, licence, found_parts(report, record))
    else:
        text = model_card(report, record, licence)
    write_text(folder / CARD_FILE, text)


@task_run("model card", "card of {saved.folder}")
def write_folder_card(saved: SavedModel) -> str:
    """Write the README.md of a model that was made once; its record decides which card it gets.

    A scheme's card says what was removed; a program's how to run it again, with the source next
    to it; any other card how many weights are zero.

    Args:
        saved: The saved model.

    Returns:
        Sizes and types of the weights before and after, in words.
    """
    record, folder = saved.record, saved.folder
    source = resolve(record["model"])
    licence = base_licence(Path(source.folder), source.gguf_file)
    before = weight_bytes(source.folder, source.gguf_file)
    size = sizes(Outcome(before, **saved_size(folder)), quantisation(source))
    if "program" in record:
        write_text(folder / SOURCE_FILE, record["program"]["source"])
        text = program_card({**record, **record["checkpoint"]}, licence, size)
    elif "scheme" in record:
        more = [f"{size}.", what_it_writes(record)]
        text = scheme_card(record, licence, [part for part in more if part])
    else:
        text = prune_card(record, licence, size)
    write_text(folder / CARD_FILE, text)
    return size


@task_run("model card", "figures into the card of {folder}")
def write_figures(folder: str, sections: dict[str, str]) -> Path:
    """Write figures of an evaluation into the README.md of the model's folder.

    Args:
        folder: Folder of the saved model.
        sections: Markdown by name of the suite; replaces earlier figures of these suites.
    """
    path = Path(folder).expanduser() / CARD_FILE
    card = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, with_sections(card, sections))
    return path
