"""What the gate needs to know of a champion and a challenger besides their losses."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.bench.model import ModelBench
from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.suites.cleaning import Policy, Resources, clean
from autoprune.models.saved_type import weight_bytes
from autoprune.models.saving import count_zeros
from autoprune.report.sealed import SealedSet
from autoprune.text.beginning import beginning_rule
from autoprune.text.corpora import load_corpus
from autoprune.text.seen_text import known_text
from autoprune.text.splits import split
from autoprune.text.windows import fewer_than_asked, token_windows

# What makes two versions of one registered model no rivals, by its name in their records.
UNLIKE = {"model_digest": "base models", "pattern": "patterns of zeros"}


@dataclass(frozen=True)
class JudgedPart:
    """The part of a text that contenders are measured on.

    Args:
        corpus: Reference of the text.
        part: ``sealed``, ``selection`` or ``whole``.
        count: Number of windows.
        seqlen: Tokens in a window.
        number: Number of the split.
        models: All models that will be measured on these windows.
    """

    corpus: str
    part: str
    count: int
    seqlen: int
    number: int
    models: Sequence[str]


@dataclass(frozen=True)
class JudgedText:
    """What a champion and a challenger are measured on.

    Args:
        windows: Number of windows.
        text: SHA-256 of their tokens.
        digest: SHA-256 of the part before anything was left out.
        split: Part, number and digest of the split.
        overlap: What the models have seen of the part.
        beginning_token: What each window begins with.
        fewer_windows: Why there are fewer windows than requested; empty: there are not.
        looks: Looks at the part so far; None: it is not sealed, or they were not counted.
        sealed_set: What was known about it before; None likewise.
    """

    windows: int
    text: str
    digest: str
    split: Mapping[str, Any]
    overlap: Mapping[str, Any]
    beginning_token: Any
    fewer_windows: str = ""
    looks: int | None = None
    sealed_set: SealedSet | None = None

    def to_json(self) -> dict[str, Any]:
        """Under the names of a promotion's record."""
        return {
            "windows": self.windows,
            "text": self.text,
            "split": dict(self.split),
            "overlap": dict(self.overlap),
            "sealed_looks": self.looks,
            "sealed_set": None if self.sealed_set is None else self.sealed_set.to_json(),
            "beginning_token": self.beginning_token,
        }


def judged_text(
    bench: ModelBench, name: str, wanted: JudgedPart, look: Callable[..., None]
) -> JudgedText:
    """Cut token windows from one part of a text; a look at sealed text is noted first.

    Documents of a sealed part that one of the models has seen are left out for all models: they
    come from a search with another split or another text.
    """
    part, number = wanted.part, wanted.number
    text = load_corpus(wanted.corpus, cache=bench.store, tokenizer=bench.tokenizer).measures()
    whole, digest, splits = text.digest, None, None
    if part != "whole":
        splits = split(text, seed=number)
        text, digest = getattr(splits, part), splits.digest
    else:
        text = text.spread_by(f"{number} whole")
    if part in ("sealed", "whole"):
        look(text.digest, whole, splits)
    # A search chose by the selection part, and the whole text holds its calibration text. If these
    # are requested they are used, and the overlap is counted.
    policy: Policy = "drop" if part == "sealed" else "report"
    resources = Resources(bench.store, known_text(wanted.models), policy)
    found = clean(text.documents, resources, what=f"the text {text.name!r}")
    used, size = found.left(text), (wanted.count, wanted.seqlen)
    try:
        windows = token_windows(used, bench.loaded.tokenizer, *size, cache=bench.store)
    except UsageError as error:
        if not found.dropped:
            raise
        raise UsageError(
            f"{found.dropped} of {len(text.documents)} parts of {text.name!r} are text that one of "
            f"the models was made with, and without them {error}"
        ) from error
    fewer = fewer_than_asked(f"the text {used.name}", len(windows), *size)
    drawn = {"part": part, "number": number, "digest": digest}
    beginning = beginning_rule(bench.loaded.tokenizer)
    bench.windows[name] = windows
    cut = len(windows), digest_json(windows.tolist()), text.digest
    return JudgedText(*cut, drawn, found.report, beginning, fewer)


def checkpoint_figures(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Count zeros, parameters and bytes of the written files, and compare with their record."""
    counted = count_zeros(folder)
    gc.collect()
    counts = {"zeros": counted.zeros, "prunable": counted.prunable, "total": counted.total}
    return {
        "recount": counts,
        "recorded": _recorded(record),
        "unsealed": str(record.get("unsealed", "")),
        "bytes": weight_bytes(folder),
    }


def _recorded(record: Mapping[str, Any]) -> dict[str, Any] | None:
    checkpoint = record.get("checkpoint", {})
    if "scheme" in record and "total" in checkpoint:
        total = {"scheme": record["scheme"], "total": checkpoint["total"]}
        return total | {"share": record["share_removed"]}
    if "target" in record and "zeros" in checkpoint and "prunable" in checkpoint:
        counts = {key: checkpoint[key] for key in ("zeros", "prunable")}
        made = {"target": record["target"], "pattern": record.get("pattern", "unstructured")}
        return counts | made
    return None


def require_rivals(name: str, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to compare versions whose records differ in :data:`UNLIKE`."""
    one_model = len({record.get("model") for record in records.values()}) == 1
    for key, what in UNLIKE.items():
        # One base model that was trained on, or got a new commit, is still the same product.
        if key == "model_digest" and one_model:
            continue
        # A scheme leaves no zeros in a pattern, though its search has the setting.
        known = {
            at: record[key]
            for at, record in records.items()
            if record.get(key) and not (key == "pattern" and "scheme" in record)
        }
        if len(set(known.values())) > 1:
            shown = " and ".join(f"{value} (version {at})" for at, value in known.items())
            raise UsageError(
                f"champion and challenger of {name} have different {what}: {shown}; register the "
                "challenger's folder under another name by `autoprune promote --folder DIR --name "
                "autoprune.NAME`, or delete the alias 'champion' in MLflow to give that one up"
            )
