"""Training sets and dated test sets out of raw threads (AoPS-Instruct, arXiv 2501.14275)."""

from autoprune.instruct.answers import Answer, Answers, Ask, one_by_one
from autoprune.instruct.building import Item, Selection, Wanted, select
from autoprune.instruct.threads import Thread, read_threads
from autoprune.instruct.writing import write_training_set, write_window

__all__ = [
    "Answer",
    "Answers",
    "Ask",
    "Item",
    "Selection",
    "Thread",
    "Wanted",
    "one_by_one",
    "read_threads",
    "select",
    "write_training_set",
    "write_window",
]
