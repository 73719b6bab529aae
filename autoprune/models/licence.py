"""What every card says: the licence of the base model, the header with it, how to open a folder."""

from pathlib import Path

from autoprune.models.reference import CARD_FILE

HOW_TO_OPEN = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""


def base_licence(folder: Path, gguf_file: str | None) -> str:
    """Licence that the base model's own files state; empty when they state none.

    Args:
        folder: Folder of the base model.
        gguf_file: Its file there; None for a transformers folder, whose card is read.
    """
    if gguf_file is not None:
        from gguf import GGUFReader

        field = GGUFReader(str(folder / gguf_file)).get_field("general.license")
        return _one_word(str(field.contents())) if field is not None else ""
    card = folder / CARD_FILE
    if not card.is_file():
        return ""
    head = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
    lines = head[1].splitlines() if len(head) == 3 and not head[0].strip() else []
    found = (line.partition(":")[2] for line in lines if line.startswith("license:"))
    return _one_word(next(found, ""))


def _one_word(text: str) -> str:
    word = text.strip().strip("'\"")
    return word if word and len(word) <= 60 and word.isprintable() and "`" not in word else ""


def card_header(licence: str) -> str:
    """The metadata at the top of a card, which model hubs read."""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    lines += [f"license: {licence}"] if licence else []
    return "\n".join([*lines, "tags:", "- pruned", "- autoprune", "---"])


def terms_of(licence: str) -> str:
    """Say in a card which terms hold for the base model."""
    if licence:
        return f"`{licence}`, as the base model's files state"
    return "not stated in the base model's files; look it up before you pass the model on"
