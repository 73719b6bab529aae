"""Task that lets the workbench's model continue a text, for cards."""

from autoprune.evaluation.continuations import continuations
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("sample text", "continue {windows}")
def sample_text(bench: Workbench, windows: str) -> list[tuple[str, str]]:
    """Prompts from the beginnings of windows, with their greedy continuations."""
    return continuations(bench.loaded, bench.windows[windows])
