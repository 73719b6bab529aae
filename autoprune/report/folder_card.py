"""The model card of a folder that was made once; its record decides which card it gets."""

from autoprune.models.gguf_reading import quantisation
from autoprune.models.licence import base_licence
from autoprune.models.reference import CARD_FILE, ModelSource
from autoprune.models.saved_type import saved_size, weight_bytes
from autoprune.models.saving import SavedModel
from autoprune.report.benefit import Outcome, sizes, what_it_writes
from autoprune.report.program_card import SOURCE_FILE, program_card
from autoprune.report.prune_card import prune_card
from autoprune.schemes.card import scheme_card
from autoprune.storage import write_text


def write_folder_card(saved: SavedModel, source: ModelSource) -> str:
    """Write the README.md of a saved model.

    A scheme's card says what was removed; a program's how to run it again, with the source next
    to it; any other card how many weights are zero.
    """
    record, folder = saved.record, saved.folder
    licence = base_licence(source.folder, source.gguf_file)
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
