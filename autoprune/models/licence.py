"""What every card says: the licence of the base model, the header with it, how to open a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.models.reference import CARD_FILE

_STOCK = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""
_OURS = """\
```python
import autoprune

loaded = autoprune.load(".")
model, tokenizer = loaded.model, loaded.tokenizer
```"""


def opener(record: Mapping[str, Any]) -> str:
    """What opens a folder, in a sentence without its full stop."""
    if "opened_by" in record:
        return "AutoPrune opens it; stock transformers refuses it, since its blocks differ in width"
    return "Stock transformers opens it"


def how_to_open(record: Mapping[str, Any]) -> str:
    """Code that opens the folder."""
    return _OURS if "opened_by" in record else _STOCK


def base_licence(folder: Path, gguf_file: str | None) -> str:
    """Licence that the base model's own files state; empty when they state none."""
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


def card_header(licence: str, record: Mapping[str, Any]) -> str:
    """The metadata at the top of a card, which model hubs read."""
    library = record.get("opened_by", "transformers")
    lines = ["---", f"library_name: {library}", "pipeline_tag: text-generation"]
    lines += [f"license: {licence}"] if licence else []
    return "\n".join([*lines, "tags:", "- pruned", "- autoprune", "---"])


def terms_of(licence: str) -> str:
    """Say in a card which terms hold for the base model."""
    if licence:
        return f"`{licence}`, as the base model's files state"
    return "not stated in the base model's files; look it up before you pass the model on"
