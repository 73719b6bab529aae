"""Tasks that write the card into a pruned model's folder."""

from pathlib import Path
from typing import Any

from autoprune.models.gguf_reading import quantisation
from autoprune.models.licence import base_licence
from autoprune.models.record import RECORD_FILE
from autoprune.models.reference import CARD_FILE, ModelSource, resolve
from autoprune.models.saved_type import matrix_types, weight_bytes
from autoprune.report.benefit import Outcome, sizes, what_it_writes
from autoprune.report.card import found_parts, model_card
from autoprune.report.data import RunReport
from autoprune.report.measured_card import with_sections
from autoprune.report.program_card import SOURCE_FILE, program_card
from autoprune.report.prune_card import prune_card
from autoprune.schemes.card import scheme_card
from autoprune.storage import read_object, write_text
from tasks.recorded import task_run
from tasks.run_files import RunFiles


@task_run("model card", "card of {report.run_id}")
def write_card(files: RunFiles, report: RunReport) -> None:
    """Write the README.md of a run's winner from the run's record.

    Args:
        files: The run's files, of which the winner's folder is one.
        report: The record.
    """
    source = resolve(report.model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    path, record = files.winner / CARD_FILE, read_object(files.winner / RECORD_FILE)
    if "scheme" in record:
        text = scheme_card(record, licence, found_parts(report, record))
    else:
        text = model_card(report, record, licence)
    write_text(path, text)


@task_run("model card", "card of {folder}")
def write_folder_card(folder: str, model: str, made: dict[str, Any]) -> str:
    """Write the README.md of a model that was made once; its record decides which card it gets.

    A scheme's card says what was removed; a program's how to run it again, with the source next
    to it; any other card how many weights are zero.

    Args:
        folder: Folder of the saved model.
        model: Reference of the model that it was made from.
        made: What the run knows about it besides the folder's own record.

    Returns:
        Sizes and types of the weights before and after, in words.
    """
    record = made | read_object(Path(folder) / RECORD_FILE)
    source = resolve(model)
    licence = base_licence(Path(source.folder), source.gguf_file)
    size = sizes(_outcome(Path(folder), source), quantisation(source))
    if "program" in record:
        write_text(Path(folder) / SOURCE_FILE, record["program"]["source"])
        text = program_card(record | record["checkpoint"], licence, size)
    elif "scheme" in record:
        more = [f"{size}.", what_it_writes(record)]
        text = scheme_card(record, licence, [part for part in more if part])
    else:
        text = prune_card(record, licence, size)
    write_text(Path(folder) / CARD_FILE, text)
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


def _outcome(folder: Path, source: ModelSource) -> Outcome:
    """Size and type of the saved weights next to the size of those they were made from."""
    kind = "+".join(sorted(matrix_types(folder)))
    return Outcome(weight_bytes(source.folder, source.gguf_file), weight_bytes(folder), kind)
