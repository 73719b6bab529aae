"""Public API: load a model, prune it by a recipe and save it; exported by ``autoprune``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from autoprune.bench.cut_text import notes_on
from autoprune.bench.programs import ByProgram, by_candidate
from autoprune.bench.saving import require_savable, save_seen
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.record import source_record, text_record
from autoprune.models.saved_type import checkpoint_type
from autoprune.models.saving import SavedModel
from autoprune.models.target import check_target
from autoprune.models.widths import opened_by
from autoprune.names import UNSTRUCTURED, require_saved
from autoprune.precision import type_name
from autoprune.program_files import PROGRAM_PREFIX
from autoprune.programs import ProgramRunner
from autoprune.progress import Report, silent
from autoprune.pruning import PruneOutcome, PruningPlan
from autoprune.pruning import prune as prune_in_place
from autoprune.recipe import Recipe
from autoprune.renamed import renamed
from autoprune.report.folder_card import write_folder_card
from autoprune.schemes import Scheme, Shrunk, require_share
from autoprune.search_settings import USUAL_SPARSITY
from autoprune.spelling import split_outside
from autoprune.text.corpora import Author, load_corpus
from autoprune.text.corpus import Corpus
from autoprune.text.seen_text import SeenText, seen_before, seen_in, united
from autoprune.text.windows import token_windows

USUAL_RECIPE = "wanda+sparsegpt:select=own+ebft"
USUAL_CORPUS = "wikipedia-sample"

load = load_model


@dataclass(frozen=True)
class Pruned:
    """A pruned model.

    Args:
        model: The model with its tokenizer, pruned in place.
        recipe: The recipe it was pruned by.
        outcome: Masks, zeros per layer, digest of the masks, seconds.
        notes: Caveats for readers of its figures: fallbacks, and the source of the text.
        saved: Folder, zeros recounted in its files, their digests; None if nothing was saved.
    """

    model: LoadedModel
    recipe: Recipe
    outcome: PruneOutcome
    notes: tuple[str, ...] = ()
    saved: SavedModel | None = None

    @property
    def zeros(self) -> int:
        """Pruned weights."""
        return self.outcome.zeros

    @property
    def sparsity(self) -> float:
        """Share of pruned weights among the prunable ones."""
        return self.outcome.sparsity

    @property
    def mask_digest(self) -> str:
        """SHA-256 that identifies the masks."""
        return self.outcome.mask_digest


@dataclass(frozen=True)
class Smaller:
    """A model made smaller by a scheme.

    Args:
        model: The model with its tokenizer, made smaller in place.
        shrunk: What was removed, parameters before and after, notes.
        notes: Caveats for readers of its figures, and the source of the text.
        saved: Folder and digests of its files; None if nothing was saved.
    """

    model: LoadedModel
    shrunk: Shrunk
    notes: tuple[str, ...] = ()
    saved: SavedModel | None = None

    @property
    def share(self) -> float:
        """Share of the blocks' parameters that was removed."""
        return self.shrunk.plan.share


@overload
def prune(
    model: str | Path | LoadedModel,
    recipe: str | Recipe = ...,
    sparsity: float | Budget | None = ...,
    pattern: str | None = ...,
    *,
    scheme: None = ...,
    corpus: str | Path = ...,
    calibration_windows: int = ...,
    seqlen: int = ...,
    seed: int = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    runner: ProgramRunner | None = ...,
    report: Report = ...,
) -> Pruned: ...


@overload
def prune(
    model: str | Path | LoadedModel,
    *,
    sparsity: float | Budget,
    scheme: str | Scheme,
    corpus: str | Path = ...,
    calibration_windows: int = ...,
    seqlen: int = ...,
    seed: int = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    report: Report = ...,
) -> Smaller: ...


@renamed(windows="calibration_windows")
def prune(
    model: str | Path | LoadedModel,
    recipe: str | Recipe = USUAL_RECIPE,
    sparsity: float | Budget | None = None,
    pattern: str | None = None,
    *,
    scheme: str | Scheme | None = None,
    corpus: str | Path = USUAL_CORPUS,
    calibration_windows: int = 16,
    seqlen: int = 512,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    runner: ProgramRunner | None = None,
    report: Report = silent,
) -> Pruned | Smaller:
    """Prune a model by a recipe, or make it smaller by a scheme; save it if ``out`` is given.

    Args:
        model: A hub id, a folder, a ``.gguf`` file, ``package:module/file``, or a loaded model,
            which is pruned in place.
        recipe: ``METRIC+PART+...``; see :mod:`autoprune.recipe_text`.
        sparsity: Share of all prunable weights to zero, or a budget; 0.6 if there is no pattern.
            With a scheme, the share of the blocks' parameters to remove, or a budget such as
            ``Budget(bytes=0.25)`` or ``Budget(faster=1.3)``; there is no default.
        pattern: ``N:M``.
        scheme: ``depth``, ``width:score=flap``, ``depth+width``: produces a smaller dense model
            instead of zeros; with ``depth+ebft+recover`` the dense model teaches it, block by
            block and as a whole. Takes no recipe and no pattern. See
            :class:`autoprune.bench.smaller.Shrinking`.
        corpus: Calibration text: a known name, a ``.txt``, ``.jsonl`` or ``.parquet`` file, or
            ``self-generated``, which the model writes itself; read only if the recipe needs text.
        calibration_windows: Windows of calibration text.
        seqlen: Tokens per window.
        seed: Seed for the order of calibration windows, random controls and tuning.
        out: Folder for the pruned model, absent or empty; weights are saved in the type of the
            checkpoint they came from.
        overwrite: Allow replacing a saved model in ``out``; what is read is never replaced.
        runner: Runs recipes that are programs, ``program:FILE.py``; the library itself never
            does. ``tasks.programs.SandboxPrograms`` is one.
        report: Called with progress.

    Raises:
        UsageError: If a part of the recipe, the budget or a reference is invalid; the model is
            still dense unless repair had begun.
        CandidateRejectedError: If the runner rejects a program, or its weights miss the budget.
        AutopruneError: If the disk is full or the folder is not writable.
    """
    if calibration_windows < 1:
        raise UsageError(f"calibration_windows {calibration_windows}: give at least 1")
    out = None if out is None else Path(out).expanduser()
    if scheme is not None:
        plain = recipe == USUAL_RECIPE and pattern is None and sparsity is not None
        if not plain or (isinstance(sparsity, Budget) and sparsity.pattern is not None):
            raise UsageError(
                "a scheme takes a share as sparsity=0.2, or Budget(bytes=0.2) or Budget(faster=1.2)"
                ", and neither recipe nor pattern: it leaves no zeros that a recipe could place"
            )
        chosen = Shrinking.parse(scheme) if isinstance(scheme, str) else Shrinking(scheme)
        require_saved(chosen.scheme.NAME)
        size = (str(corpus), calibration_windows, seqlen)
        assert sparsity is not None
        return _smaller(model, chosen, sparsity, size, seed, out, overwrite, report)
    if isinstance(recipe, str):
        line, recipe = recipe, Recipe.parse(recipe)
    else:
        line = "+".join((recipe.metric.text, recipe.group, recipe.allocation, recipe.repair))
    # A program's file, or a name that is none.
    file = split_outside(line, "+")[0].strip().removeprefix(PROGRAM_PREFIX)
    read = [str(corpus), file]
    budget = _budget(sparsity, pattern)
    by = by_candidate(recipe.metric, runner)
    plan = PruningPlan.of_recipe(
        recipe, budget.share, pattern=budget.pattern or UNSTRUCTURED, seed=seed
    )
    plan.refuse_unseen()
    if isinstance(by, ByProgram):
        by.check(plan)
    _check_out(model, read, out, overwrite)
    loaded = model if isinstance(model, LoadedModel) else load(str(model))
    text, tokens, count = None, None, calibration_windows + plan.repair.fresh_windows
    if plan.uses_text(by.needs):
        text = _text_for(loaded, str(corpus), count * seqlen, seed, report)
        tokens = token_windows(text, loaded.tokenizer, count, seqlen)
    if out is not None:
        plan = replace(plan, saved=checkpoint_type(loaded.source))
        # Zeros make nothing smaller, and a full disk would cost all of the work.
        require_savable(loaded, Path(out), plan.saved)
    used, fresh = None, None
    if tokens is not None:
        used, fresh = tokens[:calibration_windows], tokens[calibration_windows:]
    with _changing(loaded, f"{line} at {budget}", tokens) as before:
        outcome = prune_in_place(loaded.model, by, plan, windows=used, fresh=fresh, report=report)
    notes = (*_notes_on(text, used, calibration_windows), *before, *outcome.notes)
    made = Pruned(loaded, recipe, outcome, notes)
    if out is None:
        return made
    record = _of_source(loaded, seed) | _record(made, file, plan, text, used)
    saved = save_seen(loaded, _seen(loaded), Path(out), record, made.zeros, plan.saved)
    write_folder_card(saved, loaded.source)
    return replace(made, saved=saved)


def _smaller(
    model: str | Path | LoadedModel,
    how: Shrinking,
    target: float | Budget,
    size: tuple[str, int, int],
    seed: int,
    out: str | Path | None,
    overwrite: bool,
    report: Report,
) -> Smaller:
    if not isinstance(target, Budget):
        require_share(target)
        target = Budget(target)
    corpus, windows, seqlen = size
    _check_out(model, [corpus], out, overwrite)
    loaded = model if isinstance(model, LoadedModel) else load(str(model))
    text, whole, tokens, fresh = None, None, None, None
    if how.reads_text:
        count = windows + how.fresh_windows
        text = _text_for(loaded, corpus, count * seqlen, seed, report)
        whole = token_windows(text, loaded.tokenizer, count, seqlen)
        tokens, fresh = whole[:windows], whole[windows:]
    dtype = checkpoint_type(loaded.source)
    if out is not None:
        require_savable(loaded, Path(out), dtype, target.most_removed)
    asked = SchemeBudget(target, dtype)
    # What recovery trains on has been seen too.
    with _changing(loaded, f"{how.text} at {target}", whole) as before:
        shrunk = how.apply(loaded.model, asked, tokens, fresh=fresh, seed=seed, report=report)
    notes = (*_notes_on(text, tokens, windows), *before, *shrunk.notes)
    made = Smaller(loaded, shrunk, notes)
    if out is None:
        return made
    record = _of_source(loaded, seed) | shrunk.to_json()
    record |= {"scheme": how.text, "notes": list(notes)}
    record |= _of_text(text, tokens) | opened_by(loaded.model.config)
    saved = save_seen(loaded, _seen(loaded), Path(out), record, dtype=dtype)
    write_folder_card(saved, loaded.source)
    return replace(made, saved=saved)


def _text_for(loaded: LoadedModel, corpus: str, tokens: int, seed: int, report: Report) -> Corpus:
    """Calibration text in the seed's order; the model writes self-generated text itself."""
    dtype = type_name(loaded.model.dtype)
    author = Author(lambda: loaded, loaded.source.digest, tokens, report, loaded.tokenizer, dtype)
    found = load_corpus(corpus, author=author, tokenizer=loaded.tokenizer)
    return found.for_calibration(seed)


def _check_out(
    model: str | Path | LoadedModel, texts: list[str], out: str | Path | None, overwrite: bool
) -> None:
    if out is not None:
        # A GGUF file may lie next to what is written.
        if isinstance(model, LoadedModel):
            folder, file = model.source.folder, model.source.gguf_file
            model = folder if file is None else folder / file
        check_target(str(out), str(model), texts, overwrite=overwrite, allow="pass overwrite=True")


def _of_source(loaded: LoadedModel, seed: int) -> dict[str, Any]:
    return source_record(loaded.source.ref, loaded.source.digest, seed)


def _of_text(text: Corpus | None, tokens: Tensor | None) -> dict[str, Any]:
    if text is None or tokens is None:
        return {}
    return text_record(text.name, text.digest, *tokens.shape)


def _notes_on(text: Corpus | None, tokens: Tensor | None, asked: int) -> tuple[str, ...]:
    if text is None or tokens is None:
        return ()
    return notes_on(text, f"the text {text.name}", asked, *tokens.shape)


def _budget(sparsity: float | Budget | None, pattern: str | None) -> Budget:
    if not isinstance(sparsity, Budget):
        usual = USUAL_SPARSITY if pattern is None else None
        return Budget(usual if sparsity is None else sparsity, pattern)
    if pattern is not None:
        raise UsageError(
            f"{sparsity} and pattern {pattern!r} are two budgets; put the pattern into the Budget"
        )
    return sparsity


def _record(
    made: Pruned, file: str, plan: PruningPlan, text: Corpus | None, tokens: Tensor | None
) -> dict[str, Any]:
    """How the model was made, under the names that `autoprune prune` writes."""
    recipe = made.recipe
    record: dict[str, Any] = {
        "metric": recipe.metric.text,
        "group": recipe.group,
        "allocation": recipe.allocation,
        "solver": recipe.repair,
        "statistics": plan.scoring,
        "pattern": str(plan.pattern or UNSTRUCTURED),
        "target": plan.sparsity,
        **made.outcome.to_json(),
        "notes": list(made.notes),
    }
    record |= made.outcome.by_code(recipe.metric, Path(file).name)
    return record | _of_text(text, tokens)


@contextmanager
def _changing(loaded: LoadedModel, what: str, read: Tensor | None) -> Iterator[tuple[str, ...]]:
    """Record a change of the weights that the body makes; give a note on those before it.

    A body that fails before it has written anything leaves no record.
    """
    by = ", then ".join(change for change, _ in loaded.changes)
    source, before = loaded.source.ref, _versions(loaded)
    loaded.changes.append((what, read))
    try:
        yield (f"the weights were not those of {source}: changed before by {by}",) if by else ()
    except BaseException:
        if _versions(loaded) == before:
            loaded.changes.pop()
        raise


def _versions(loaded: LoadedModel) -> list[tuple[int, int]]:
    """What differs once a parameter was replaced or written to."""
    return [(value.data_ptr(), value._version) for value in loaded.model.parameters()]


def _seen(loaded: LoadedModel) -> SeenText | None:
    """The text that decided about the model's weights: before it was loaded, and since."""
    read = [windows for _, windows in loaded.changes if windows is not None]
    return united([seen_before(loaded.source), seen_in(read, loaded.tokenizer)])
