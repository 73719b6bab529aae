"""Named groups of lm-eval tasks, and names that are known but cannot be measured here."""

from collections.abc import Mapping

# The two seven-task sets of the pruning papers. The first (with RTE): Wanda (arXiv 2306.11695),
# AlphaPruning, Pruner-Zero; the second (with PIQA): ATP (arXiv 2502.14770), LSA.
_SHARED = ("hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")

# The 17 tasks of From LLMs to LRMs (arXiv 2601.18091) by the names of lm-eval where it has them.
STUDY: Mapping[str, tuple[str, ...]] = {
    "study-classification": ("boolq", "piqa", *_SHARED),
    "study-generation": ("ifeval", "truthfulqa_mc2", "popqa", "humaneval", "humaneval_plus"),
    "study-reasoning": (
        "aime24",
        "minerva_math500",
        "livecodebench",
        "gpqa_diamond_cot_zeroshot",
        "jeebench",
    ),
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "seven-rte": ("boolq", "rte", *_SHARED),
    "seven-piqa": ("boolq", "piqa", *_SHARED),
    **STUDY,
}
# Groups whose tasks all report plain accuracy, which makes the mean meaningful.
MEANS = ("seven-rte", "seven-piqa", "study-classification")

_NO_LOADER = (
    "lm-eval {version} has no such task; give a task file of this name and its folder with "
    "--task-folder"
)
_RUNS_CODE = (
    "it executes code that the model writes in this process, which AutoPrune does with no code "
    "that a model wrote"
)
UNAVAILABLE: Mapping[str, str] = {
    "popqa": _NO_LOADER,
    "jeebench": _NO_LOADER,
    "livecodebench": _RUNS_CODE,
    "humaneval": _RUNS_CODE,
    "humaneval_plus": _RUNS_CODE,
}
