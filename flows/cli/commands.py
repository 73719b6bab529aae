"""The commands: their names, what each does, and where it is.

A command has two modules. Its grammar, with its options and the parameters made from them, is
light, without torch, Prefect and whatever else runs a command, so that help and refusals are
immediate. The other has ``run(args)``, or ``run(args, params)`` if the grammar makes parameters.
"""

# Name and description of each command, in the order of the help.
COMMANDS = {
    "demo": "run the whole workflow on a small real model",
    "search": "let a designer LLM search for the best way to prune a model",
    "inspect": "show what a model's matrices look like and what pruning each one costs",
    "prune": "prune a model once, by a recipe or the best preset for a time limit",
    "evaluate": "measure a model: perplexity, tasks, reasoning, dated questions, cost",
    "compare": "compare pruning methods on a model and recommend one",
    "compact": "store a pruned model without its zeros, losslessly, or restore it",
    "export": "write a model as a GGUF file for llama.cpp, or push it to a hub",
    "validate": "check in the sandbox whether a metric or program is accepted",
    "promote": "make a challenger the champion if it passes the gate",
    "reproduce": "make a candidate or a scheme's model again and compare bit by bit",
    "doctor": "check everything a run needs, show how to fix it, build the sandbox image",
    "up": "start or reuse the Prefect and MLflow servers and a worker; deploy all flows",
    "down": "stop the servers and the worker that `autoprune up` started",
    "resume": "continue an interrupted search, to its end or until a stage is done",
    "ls": "list runs, candidates, models, metrics, repairs, schemes and other names",
    "mcp": "serve the Model Context Protocol, so that an agent can design for a search",
    "rm": "delete searches with their log, report and winner, or caches",
}

# Commands that draw at random by --seed.
SEEDED = frozenset({"demo", "search", "prune", "evaluate", "compare"})
# Commands that compute with torch, and those that start others which do.
ON_DEVICE = frozenset({"demo", "search", "inspect", "prune", "evaluate", "compare"}) | {
    "promote",
    "reproduce",
    "resume",
    "up",
    "mcp",
}

# Folders of the commands that have none of their own: `flows/NAME` has ``grammar`` and ``command``,
# a shared folder has ``NAME_grammar`` and ``NAME_command``.
SHARED = {
    "down": "up",
    "mcp": "agents",
    "rm": "housekeeping",
}


def module_of(name: str, part: str) -> str:
    """Return the full name of one of a command's modules."""
    word = name.replace("-", "_")
    return f"flows.{SHARED[name]}.{word}_{part}" if name in SHARED else f"flows.{word}.{part}"
