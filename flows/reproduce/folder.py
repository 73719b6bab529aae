"""Remakes a folder that a scheme made, from its record alone, and compares the files."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.record import RECORD_FILE, read_record
from autoprune.storage import atomic_folder
from flows import library
from flows.params.fields import listed
from flows.prune.params import PruneParams


def request_of(folder: Path, corpus: str | None, out: Path) -> tuple[dict[str, Any], PruneParams]:
    """Return what a folder records, and the request that remakes it."""
    record = read_record(folder)
    if not ("scheme" in record and record.get("checkpoint", {}).get("files")):
        raise UsageError(
            f"{folder} has no {RECORD_FILE} of a model that a scheme made; name such a folder, or "
            "a search and one of its candidates: autoprune reproduce RUN CANDIDATE"
        )
    if "run" in record:
        raise UsageError(
            f"{folder} is {record['candidate']} of the search {record['run']}, whose record says "
            f"how: autoprune reproduce {record['run']} {record['candidate']}"
        )
    if "text_split" in record:
        raise UsageError(
            f"{folder} was made alongside a search, on its part {record['corpus']} of split "
            f"{record['text_split']}, which this command cannot draw; name a folder that "
            "`autoprune prune --scheme` wrote"
        )
    if "samples" in record and not record.get("spread"):
        raise UsageError(
            f"{folder} was made by an earlier version, which calibrated on the first windows of "
            f"{record['corpus']}; this one spreads them over the whole text; use the version that "
            "made it"
        )
    asked = {
        "model": record["model"],
        "scheme": record["scheme"],
        "sparsity": record["parameters_target"],
        "seed": record["seed"],
        "dtype": _asked_type(folder, record.get("dtype_asked", "auto")),
        "out": str(out),
        # The command has checked the folder already.
        "overwrite": True,
    }
    if "samples" in record:
        asked |= {"corpus": corpus or record["corpus"], "seqlen": record["seqlen"]}
        asked |= {"calibration_windows": record["samples"], "held_out": record.get("held_out")}
    return record, PruneParams.model_validate(asked)


def _asked_type(folder: Path, asked: str) -> str:
    """The option that gives the type of the files: earlier versions saved GGUF in float32."""
    wide = asked == "auto" and library.matrix_types(folder) == {"F32"}
    return "float32" if wide else asked


def reproduce_folder(
    folder: Path,
    corpus: str | None,
    out: Path | None,
    root: Path,
    prune: Callable[[PruneParams], dict[str, Any]],
) -> dict[str, Any]:
    """Shrink a model again as its record says, and compare the weight files."""
    with tempfile.TemporaryDirectory(dir=root, prefix="reproduce-") as temporary:
        new = Path(temporary) / "made"
        record, params = request_of(folder, corpus, new)
        if out is not None:
            # The command has checked the folder already, but not against what is read.
            read = (params.corpus, *listed(params.held_out))
            library.check_target(str(out), params.model, read, overwrite=True)
        try:
            params.check()
        except UsageError as error:
            # What was typed then may not be a place from here.
            hint = f"; the record names the model {params.model!r} and the text {params.corpus!r}"
            if corpus is None:
                hint += ": run this where the model is found, or name the text with --corpus"
            raise UsageError(f"{error}{hint}") from error
        made = prune(params)
        for key in ("model_digest", "corpus_digest"):
            found, wanted = made.get(key), record.get(key)
            if found != wanted:
                what = "model" if key == "model_digest" else "calibration text"
                raise AutopruneError(
                    f"the {what} has digest {str(found)[:16]}… here and {str(wanted)[:16]}… in the "
                    "record; only the same gives the same files; use the one that was recorded"
                )
        wanted = record["checkpoint"]["files"]
        match = made["files"] == wanted
        if match and out is not None:
            with atomic_folder(out) as place:
                shutil.copytree(new, place, dirs_exist_ok=True)
    return {
        "folder": str(folder),
        "scheme": record["scheme"],
        "files": wanted,
        "found": made["files"],
        "match": match,
        "computed_by": record.get("computed_by", {}),
        "hardware": record.get("hardware", {}),
        "out": str(out) if match and out is not None else None,
    }
