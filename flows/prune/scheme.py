"""The pruning flow for schemes, which shrink the model instead of zeroing weights."""

from typing import Any

from autoprune.budget import Budget
from autoprune.errors import UsageError
from flows.params.fields import listed
from flows.prune.params import PruneParams
from flows.prune.prepared import first_record, workbench
from flows.prune.saving import require_savable_for, sampled, save
from tasks.calibrate import cut_windows, load_model
from tasks.scheme import check_scheme, shrink_model
from tasks.workbench import opened


def prune_by_scheme(params: PruneParams) -> dict[str, Any]:
    """Shrink a model and save it; return the record of ``autoprune.json``."""
    assert params.scheme is not None
    scheme = check_scheme(params.shrinking)
    if not scheme.reads_text and params.text_options:
        raise UsageError(
            f"the scheme {scheme.text} reads no text, so that {params.text_options} would "
            f"change nothing; leave out {params.text_options}"
        )
    budget = Budget(params.sparsity, None, params.bytes, params.faster)
    bench = workbench(params)
    with opened(bench):
        source = load_model(bench, params.model)
        record = first_record(params, source.digest) | {"notes": []}
        # A full disk would cost all of the work.
        require_savable_for(bench, params, budget.most_removed)
        if scheme.reads_text:
            size = params.windows, params.seqlen
            known = listed(params.held_out)
            text = cut_windows(bench, params.corpus, *size, known, scheme.fresh_windows)
            record |= text.record | {"notes": list(text.notes)}
        with sampled(bench, params, record):
            made = shrink_model(bench, scheme, budget, params.dtype)
            record |= made.to_json() | {"scheme": scheme.text, "seconds_pruning": made.seconds}
            record["notes"] += made.notes
        save(bench, params, record)
    return record
