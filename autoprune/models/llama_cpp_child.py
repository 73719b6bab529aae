"""Child process that computes with one GGUF file through llama.cpp, then exits.

Run as ``python -m autoprune.models.llama_cpp_child``; see :mod:`autoprune.models.llama_cpp`. A job
is one JSON object on standard input, its result the last line of standard output. It is a separate
process because llama.cpp ends the process on a fault and starts its own threads.
"""

import json
import os
import sys
import urllib.request
from typing import Any

from autoprune.memory import peak_rss_mb


def main() -> None:
    """Do the job read from standard input."""
    job = json.load(sys.stdin)
    import xllamacpp

    # Memory held before the file is opened does not belong to the model.
    empty = peak_rss_mb()
    server = _start(xllamacpp, job)
    result: dict[str, Any] = {"version": str(getattr(xllamacpp, "__version__", ""))}
    result["completions"] = [server.handle_completions(wish) for wish in job["completions"]]
    result["texts"] = [_tokens(server, text) for text in job["texts"]]
    result |= {"peak_mb": peak_rss_mb(), "empty_mb": empty}
    print("\n" + json.dumps(result), flush=True)
    # The server's threads need not be stopped.
    os._exit(0)


def _start(xllamacpp: Any, job: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = job["file"]
    params.n_ctx = job["context"]
    params.n_parallel = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    # Log errors only; the first one says what is wrong with a file.
    params.verbosity = 1
    params.n_gpu_layers = 0
    # One number for prompts and for generation: the same threads do both.
    params.cpuparams.n_threads = job["threads"]
    params.cpuparams_batch.n_threads = job["threads"]
    return xllamacpp.Server(params)


def _tokens(server: Any, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": False}).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.listening_address}/tokenize", body, kind)
    # It listens on this machine, so no proxy from the environment is used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        found: list[int] = json.load(answer)["tokens"]
    return found


if __name__ == "__main__":
    main()
