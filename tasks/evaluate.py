"""Task that measures the model as it stands on the workbench."""

from typing import Any

from tasks.policies import step
from tasks.workbench import find_workbench


@step("evaluate", "perplexity on {name}")
def evaluate_model(bench_id: str, name: str) -> dict[str, Any]:
    """Perplexity of the workbench's model on the named windows.

    Args:
        bench_id: Id of an open workbench.
        name: Name of windows that were cut before.
    """
    from autoprune.evaluation.perplexity import evaluate_windows

    bench = find_workbench(bench_id)
    result = evaluate_windows(bench.loaded.model, bench.windows[name], report=bench.report)
    return {
        "perplexity": result.perplexity,
        "tokens": result.tokens,
        "nll": list(result.nll),
        "seconds": result.seconds,
    }
