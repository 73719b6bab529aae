"""Tasks behind ``--allocation auto``: split the text, measure every allocator, name the best."""

from autoprune.bench import allocations, cut_text
from tasks.recorded import task_run

split_windows = task_run("split text", "split {corpus}")(cut_text.split_windows)
choose_allocation = task_run("choose allocation", "compare {grid} with {metric}")(
    allocations.choose_allocation
)
