"""Refuses to go on with a search on another model, text or windows, or with another designer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.bench.text import CALIBRATION, SEALED, SELECTION
from autoprune.errors import UsageError
from autoprune.models.reference import local_path
from autoprune.text.rows import split_column
from tasks.search_bench import SearchBench


def require_same_windows(run_id: str, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to resume if this version would cut other windows than those measured on."""
    cut = [(found.get("windows_version"), found.get("beginning_token")) for found in (known, facts)]
    if "parts" in known and cut[0] != cut[1]:
        raise UsageError(
            f"the search {run_id!r} measured on windows of version {cut[0][0] or 1} (beginning "
            f"token: {cut[0][1] or 'not recorded'}), and this program cuts those of version "
            f"{cut[1][0]} ({cut[1][1]}), so its figures cannot be compared with new ones; start "
            "another search with --run NAME"
        )


def require_same_sources(run_id: str, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on if the model or the text has another content than at the start.

    A search's settings name both and say nothing of what they hold.
    """
    before, now = _digests(known), _digests(facts)
    for what, digest in now.items():
        if before.get(what, digest) != digest:
            raise UsageError(
                f"the {what} of the search {run_id!r} has changed since it began: the digest was "
                f"{before[what][:12]} and is {digest[:12]}, so its figures cannot be compared with "
                "new ones; put it back, or start another search with --run NAME"
            )


def require_same_files(bench: SearchBench, known: Mapping[str, Any]) -> None:
    """Refuse to give a finished search's result as that of a model or text edited since.

    Only files of this machine are read: what the hub holds would have to be fetched.
    """
    facts: dict[str, Any] = {}
    if local_path(bench.model_ref) is not None:
        facts["model_digest"] = bench.source.digest
    if Path(split_column(bench.text.corpus)[0]).expanduser().is_file():
        parts = (CALIBRATION, SELECTION, SEALED)
        facts["parts"] = {name: {"digest": getattr(bench.splits, name).digest} for name in parts}
    require_same_sources(bench.run_id, known, facts)


def require_same_designer(run_id: str, known: Mapping[str, Any], kind: str) -> None:
    """Refuse to ask another kind of designer than the one that a search began with.

    ``auto`` stands for what the environment names, so the settings are the same in either case, and
    the record has room for one designer.
    """
    before = str(known.get("designer", kind)).partition(":")[0]
    if before == kind:
        return
    how = "set" if before == "openai" else "unset"
    raise UsageError(
        f"the search {run_id!r} asked the designer {before}, and with this environment auto means "
        f"{kind}; {how} OPENAI_BASE_URL or OPENAI_API_KEY as when it began, or start another "
        f"search with --run NAME and --designer {kind}"
    )


def _digests(facts: Mapping[str, Any]) -> dict[str, str]:
    """Digests of model and text by what they are of; a search's text is in parts."""
    parts = facts.get("parts", {})
    found = {"model": facts.get("model_digest")}
    found |= {f"text ({name} part)": part.get("digest") for name, part in parts.items()}
    return {what: digest for what, digest in found.items() if digest is not None}
