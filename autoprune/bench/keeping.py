"""Make a measured model once more, or a smaller one, and save it with what it is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.cut_text import SplitText
from autoprune.bench.saving import AUTO, measured_in, save_bench, saved_type
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.scheme_recipe import SmallerOutcome
from autoprune.bench.side_by_side import beside_dense
from autoprune.bench.smaller import Shrinking, shrunken
from autoprune.bench.text import SELECTION
from autoprune.budget import Budget
from autoprune.errors import AutopruneError, reason_of
from autoprune.evaluation.continuations import continuations, side_by_side
from autoprune.models.record import DENSE_COMPARISON, source_record, text_record
from autoprune.models.saved_type import saved_size, weight_bytes
from autoprune.models.saving import SavedModel
from autoprune.recipe import Recipe

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench

# A smaller model and the dense one take turns at reading so many selection windows.
COMPARED_WINDOWS = 8


def save_measured(
    bench: "Bench",
    name: str,
    recipe: Recipe,
    budget: Budget,
    masks: str,
    folder: Path,
    record: Mapping[str, Any],
    dtype: str = AUTO,
    found: Mapping[str, Any] = {},
) -> SavedModel:
    """Prune by a measured recipe once more, and save the model with its ``outcome``."""
    source, kind = bench.loaded.source, saved_type(bench, dtype)
    dense, target = continuations(bench.loaded, bench.part(SELECTION)), SchemeBudget(budget, kind)
    dense_bytes = target.bytes_of(bench.loaded.model)
    with bench.pruned(recipe, budget) as outcome:
        if outcome.mask_digest != masks:
            raise AutopruneError(
                f"{name} gave masks {outcome.mask_digest[:16]}… now and {masks[:16]}… when it was "
                "measured; its metric or repair is not deterministic here; nothing was saved"
            )
        pruned = continuations(bench.loaded, bench.part(SELECTION))
        worth: dict[str, Any] = {
            "source_bytes": weight_bytes(source.folder, source.gguf_file),
            "samples": side_by_side(dense, pruned),
            "measured_in": measured_in(bench, kind),
        }
        made = {**record, "outcome": worth, "notes": [*outcome.notes]}
        if not isinstance(outcome, SmallerOutcome):
            return save_bench(bench, folder, made, outcome.zeros, kind)
        made |= outcome.record
        if found:
            made["budget"] = {**found, **target.reached(bench.loaded.model, dense_bytes)}
        if "faster" in found:
            worth["faster"] = found["faster"]
            worth["dense_rate"] = found["tokens_per_second_dense"]
        try:
            made |= beside_dense(bench, bench.part(SELECTION)[:COMPARED_WINDOWS], kind)
        except Exception as error:
            # Such as too few positions for the timed prompt, or no memory for both: the model is
            # kept whatever it is.
            made["notes"].append(f"not measured next to the dense model: {reason_of(error)}")
        return save_bench(bench, folder, made, dtype=kind)


def outcome_of(folder: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a folder of :func:`save_measured` holds; None if an earlier version made it."""
    if "outcome" not in record:
        return None
    both = {"beside": record[DENSE_COMPARISON]} if DENSE_COMPARISON in record else {}
    return {**record["outcome"], **saved_size(folder), **both}


def save_smaller(
    bench: "Bench", how: Shrinking, share: float, text: SplitText, folder: Path
) -> SavedModel:
    """Save a smaller copy of the dense model with both models' figures on selection windows."""
    kind, known = saved_type(bench, AUTO), text.calibration
    with shrunken(bench, how, share, seed=bench.seed) as made:
        record = {
            **source_record(bench.model_ref, bench.source.digest, bench.seed),
            **text_record(known.corpus, known.digest, known.windows, known.seqlen),
            **made.to_json(),
            "scheme": how.text,
            "notes": list(made.notes),
            "text_split": text.split,
            "seconds": made.seconds,
        }
        record |= beside_dense(bench, bench.windows[SELECTION], kind)
        return save_bench(bench, folder, record, dtype=kind)
