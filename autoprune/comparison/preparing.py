"""Prepares a comparison: refuses early what could not be measured later, and says what it is."""

import time
from typing import TYPE_CHECKING, Any

from autoprune.bench.protocol import protocol
from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.cell_keys import products_of
from autoprune.comparison.draws import require_different
from autoprune.comparison.measuring import needs_of, require_divisible
from autoprune.comparison.record import require_same
from autoprune.comparison.request import Request
from autoprune.comparison.suites import check_suite_requests
from autoprune.digest import windows_digest
from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.numerics import computed_by, hardware

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench


def prepare_comparison(bench: "ComparisonBench", request: Request) -> dict[str, Any]:
    """Load the model, split the text, and refuse early what could not be measured later."""
    started = time.monotonic()
    loaded = bench.loaded
    try:
        layers = bench.layers
    except UsageError:
        raise
    except AutopruneError as error:
        raise UsageError(str(error)) from error
    require_divisible(layers, request.targets)
    bench.draws.expected = frozenset[str]().union(*map(needs_of, request.methods))
    check_suite_requests(bench)
    sizes = {name: len(bench.part(name)) for name in (SELECTION, SEALED)}
    texts = bench.texts
    there = [facts for facts in texts.values() if "reason" not in facts]
    draws = [digest for facts in there for digest in facts["draw_digests"]]
    # With named texts, nothing is calibrated on the own part, which may be as short as it likes.
    pools = [facts["pool"] for facts in there] or [len(bench.draws.pool(bench))]
    if not texts:
        draws = [windows_digest(bench.drawn_windows(seed)) for seed in range(bench.draw_count)]
    require_different(min(pools), bench.draws.samples, bench.draw_count)
    splits = bench.splits
    found = {
        **protocol(bench),
        **model_provenance(loaded),
        **model_protocol(loaded),
        "machine": hardware(),
        "commit": bench.commit,
        "corpus": bench.text.corpus,
        "split_seed": bench.text.split,
        "sealed_set": bench.looks.earlier_looks(splits).to_json(),
        "splits_digest": splits.digest,
        "shared_documents": sum(1 for entry in splits.shared if entry.dropped),
        "seqlen": bench.text.seqlen,
        "calibration_windows": bench.draws.samples,
        "calibration_pool": min(pools),
        "selection_windows": sizes[SELECTION],
        "sealed_windows": sizes[SEALED],
        "selection_digest": bench.digest(SELECTION),
        "sealed_digest": bench.digest(SEALED),
        "draw_digests": draws,
        **({"calibration_texts": texts} if texts else {}),
        "seeds": bench.draw_count,
        "suites": bench.suites,
        "precision": bench.precision,
        "products": products_of(bench),
        "computed_by": computed_by(),
        "seconds": time.monotonic() - started,
    }
    if bench.record is not None:
        require_same(bench.record, found)
    return found
