"""What a model has seen: a fingerprint beside its weights, written when it is made."""

import functools
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.evaluation.suites.cleaning import Resources, clean
from autoprune.models.reference import RECORD_FILE, model_folder
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.seen_text import FILE, SeenText
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from autoprune.text.corpora import Corpus

# Windows by which masks are made or chosen, including further draws of calibration text
# ("calibration 1"); sealed windows do neither.
_DECIDING = ("calibration", "selection")


def seen_by(bench: Workbench) -> SeenText | None:
    """Fingerprint of the text that decided about a bench's model, and that its original had seen.

    Returns:
        What :data:`FILE` holds in the model's folder; None if no text is known.
    """
    names = [name for name in bench.windows if name.partition(" ")[0] in _DECIDING]
    return united([known_text([bench.model_ref]), seen_in_windows(bench, names)])


def is_finished(folder: Path) -> bool:
    """Whether a model was saved here together with the fingerprint of its text."""
    return (folder / RECORD_FILE).is_file() and (folder / FILE).is_file()


def seen_in_windows(bench: Workbench, names: Iterable[str]) -> SeenText | None:
    """Fingerprint of the text of the named windows; names without windows are skipped."""
    decode = bench.tokenizer.decode
    texts = [
        decode(bench.windows[name].flatten().tolist(), skip_special_tokens=True)
        for name in names
        if name in bench.windows
    ]
    return SeenText.of(texts) if texts else None


def known_text(models: Iterable[str]) -> SeenText | None:
    """What is known about the text that models were made with; None if none of them says.

    Raises:
        UsageError: If there is no such model.
        DamagedFileError: If a fingerprint is not readable.
    """
    folders = [folder for folder in map(model_folder, models) if folder is not None]
    files = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    return united(map(SeenText.load, files))


def united(parts: Iterable[SeenText | None]) -> SeenText | None:
    """All of these texts as one; None if nothing is known."""
    known = [part for part in parts if part is not None]
    return functools.reduce(operator.or_, known) if known else None


def referenced_text(refs: Iterable[str], store: Store, tokenizer: Any) -> SeenText:
    """Fingerprint of named texts; conversations are rendered by the tokenizer."""
    corpora = [load_corpus(ref, cache=store, tokenizer=tokenizer) for ref in refs]
    return SeenText.of([text for corpus in corpora for text in corpus.documents])


def without_text(
    corpus: "Corpus", held_out: list[str], store: Store, tokenizer: Any
) -> "tuple[Corpus, dict[str, Any]]":
    """Remove from calibration text what figures will be measured on.

    Args:
        corpus: The calibration text.
        held_out: Texts to be measured on; if empty, nothing is checked.
        store: Caches text that is slow to clean.
        tokenizer: The model's, which renders conversations.

    Returns:
        The remaining text, and what was checked, found and dropped.

    Raises:
        ContaminationError: If nothing is left.
    """
    if not held_out:
        return corpus, {"checked": 0, "note": "no held-out text was named"}
    resources = Resources(store, referenced_text(held_out, store, tokenizer))
    found = clean(
        corpus.documents, resources, what=f"the calibration text {corpus.name!r}", made=True
    )
    return found.left(corpus), found.report
