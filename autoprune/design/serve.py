"""Child process that serves one GGUF file on 127.0.0.1 until its parent lets go.

Run as ``python -m autoprune.design.serve MODEL --context N --threads N``. Prints one JSON line with
the address when the model is loaded. Ends when its standard input closes or its parent dies, so
that neither a crash nor ``kill -9`` of the parent leaves a server behind.
"""

import argparse
import json
import os
import select
import sys
from typing import Any

POLL_SECONDS = 1.0


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.design.serve", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    parent = os.getppid()
    server = start(arguments.model, arguments.context, arguments.threads)
    print(json.dumps({"address": server.listening_address}), flush=True)
    while os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
        if ready and not os.read(sys.stdin.fileno(), 4096):
            break
    # The server's threads may be in the middle of a token; nothing needs to be saved.
    os._exit(0)


def start(model: str, context: int, threads: int) -> Any:
    """Load the model and listen on a free port of 127.0.0.1."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.verbosity = 0
    params.cpuparams.n_threads = threads
    # Let waiting threads sleep instead of spin, since the same cores prune and measure.
    params.cpuparams.poll = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
