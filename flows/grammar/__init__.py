"""What each command of the command line takes, a module each: options, and parameters made of them.

Light, without torch, Prefect and what else runs a command (:mod:`flows.commands`): help and
refusals come at once.
"""

# Name of each command, in the order of the help, and what it does.
COMMANDS = {
    "demo": "run the whole job on a small real model",
    "search": "let a designer LLM search for the best way to prune a model",
    "inspect": "show what a model's matrices look like, and what pruning each alone costs",
    "calibrate": "collect a model's statistics into the store",
    "prune": "prune a model once, by a recipe or the best that fits a time, and save it",
    "evaluate": "measure a model: perplexity, tasks, reasoning, dated questions, code, cost",
    "compare": "compare pruning methods on a model and say which to take",
    "compact": "store a pruned model without its zeros, lossless, and back",
    "export": "write a model as a GGUF file for llama.cpp, or send it to a hub",
    "instruct": "make a training set, or a dated test set, out of a forum's threads",
    "validate": "run a metric or a program in the sandbox and say whether it is accepted",
    "verify": "train a verifier of reasoning steps, or score the steps of solutions with one",
    "promote": "make a challenger champion when it passes the gate",
    "reproduce": "make a candidate, or a model that a scheme made, again and compare bit by bit",
    "report": "write the HTML report of a search",
    "export-record": (
        "write a search's events, losses per window, questions and answers as plain files"
    ),
    "design": "show the next prompts of a search",
    "doctor": "check everything that a run needs, with the fix for each fault",
    "up": "start or reuse Prefect server, MLflow server and a worker, and deploy all flows",
    "down": "stop the servers and the worker that `autoprune up` started",
    "resume": "go on with an interrupted search",
    "stage": "do one stage of a search: what is open of it, else once more beside the record",
    "ls": "list runs, candidates, models, metrics, repairs, schemes and other names",
    "mcp": "serve the Model Context Protocol, so that an agent can run a search and design in it",
    "rm": "delete searches: log, report and winner",
    "gc": "free room: copies of winners and, if asked, caches",
    "sandbox": "build or check the sandbox image",
}
