"""Tokenizers and texts of which every window is different."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split

BEGIN = "<s>"
PLACES = 1000
DOCUMENTS = 40


def with_beginning(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, which from now on puts ``<s>`` (token 0) first, as Llama's does."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, 0)]
    )
    return tokenizer


def word_tokenizer(*, begins: bool) -> PreTrainedTokenizerFast:
    """One token per word ``d3`` or ``p17``; puts ``<s>`` first on request, as Llama's does."""
    words = [f"d{i}" for i in range(DOCUMENTS)] + [f"p{i}" for i in range(PLACES)]
    vocabulary = {word: i for i, word in enumerate([BEGIN, "[UNK]", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", bos_token=BEGIN)
    return with_beginning(made) if begins else made


def marked_document(number: int, length: int) -> str:
    """A text of ``d3 p0 d3 p1 ...``, an empty line after every fiftieth place."""
    marks = [
        f"d{number} p{place}" + ("\n\n" if place % 50 == 49 else "") for place in range(length)
    ]
    return " ".join(marks).replace("\n\n ", "\n\n").strip()


def marks(tokenizer: PreTrainedTokenizerFast, row: list[int]) -> list[tuple[int, int]]:
    """Document and place of every pair of words in a window."""
    words = [word for word in tokenizer.decode(row).split() if word != BEGIN]
    start = 0 if words[0].startswith("d") else 1
    pairs = zip(words[start::2], words[start + 1 :: 2], strict=False)
    return [(int(document[1:]), int(place[1:])) for document, place in pairs]


def sharing_sealed(text: Path, folder: Path) -> Path:
    """Another text, with one document that is the given text's sealed part."""
    sealed = split(load_corpus(str(text))).sealed
    path = folder / "other.jsonl"
    own = [f"other words {i} stand here, {i + 1} of them or {i * i} more" for i in range(300)]
    lines = [json.dumps({"text": document}) for document in [sealed.text, *own]]
    path.write_text("\n".join(lines))
    return path
