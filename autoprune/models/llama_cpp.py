"""What llama.cpp computes with a GGUF file, in a child: tokens, log-probabilities, speed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, PrerequisiteError

PACKAGE = "xllamacpp"
# Number of log-probabilities that the server returns for each generated token.
TOP = 5
_SECONDS = 1800


@dataclass(frozen=True)
class NextToken:
    """What llama.cpp returns for the token that follows a prompt.

    Args:
        token: The most probable id.
        top: The most probable ids with their log-probabilities, in nats.
    """

    token: int
    top: dict[int, float]


@dataclass(frozen=True)
class Speed:
    """Measured speed of one file.

    Args:
        prefill: Tokens of a prompt per second, one figure per run.
        decode: Generated tokens per second, one figure per run.
        peak_bytes: Largest resident memory of the process, the mapped file included.
        threads: Threads that computed.
        version: Of ``xllamacpp``.
    """

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    peak_bytes: float
    threads: int
    version: str


def installed() -> bool:
    """Whether llama.cpp can be asked."""
    return find_spec(PACKAGE) is not None


def next_tokens(
    file: Path, prompts: Sequence[Sequence[int]], *, texts: Sequence[str] = ()
) -> tuple[list[NextToken | None], list[list[int]]]:
    """The token that follows each prompt, and the tokens of texts."""
    wishes = [
        {"prompt": list(prompt), "n_predict": 1, "temperature": 0.0, "n_probs": TOP,
         "cache_prompt": False}
        for prompt in prompts
    ]  # fmt: skip
    found = _run(file, wishes, texts, max(map(len, prompts)) + 8, 1)
    return [_step(done) for done in found["completions"]], found["texts"]


def measure_speed(
    file: Path, prompt: Sequence[int], new: int, *, repeats: int, threads: int
) -> Speed:
    """Time prompt and generation, after one run that is not counted."""
    wish = {"prompt": list(prompt), "n_predict": new, "temperature": 0.0, "cache_prompt": False,
            "ignore_eos": True}  # fmt: skip
    found = _run(file, [wish] * (repeats + 1), [], len(prompt) + new + 8, threads)
    times = [done["timings"] for done in found["completions"][1:]]
    return Speed(
        tuple(float(time["prompt_per_second"]) for time in times),
        tuple(float(time["predicted_per_second"]) for time in times),
        (found["peak_mb"] - found["empty_mb"]) * 1e6,
        threads,
        found["version"],
    )


def _step(done: dict[str, Any]) -> NextToken | None:
    steps = (done["choices"][0].get("logprobs") or {}).get("content")
    if not steps:
        return None
    top = {int(entry["id"]): float(entry["logprob"]) for entry in steps[0]["top_logprobs"]}
    return NextToken(int(steps[0]["id"]), top)


def _run(
    file: Path, wishes: list[dict[str, Any]], texts: Sequence[str], context: int, threads: int
) -> dict[str, Any]:
    if not installed():
        raise PrerequisiteError(
            f"{PACKAGE} is not installed, and llama.cpp is asked through it; run `pip install "
            "'autoprune[demo]'`"
        )
    job = {"file": str(file), "completions": wishes, "texts": list(texts), "context": context,
           "threads": threads}  # fmt: skip
    # -P: nothing of the current folder is imported, whatever lies there.
    command = [sys.executable, "-P", "-m", "autoprune.models.llama_cpp_child"]
    try:
        done = subprocess.run(
            command, input=json.dumps(job).encode(), capture_output=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AutopruneError(
            f"llama.cpp did not end within {_SECONDS:,} s with {file}; was the machine asleep or "
            "very busy? repeat the command"
        ) from error
    if done.returncode:
        lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
        first = next(
            (line for line in lines if " E " in line), lines[-1] if lines else "no message"
        )
        raise AutopruneError(
            f"llama.cpp did not load or compute {file.name} (exit code {done.returncode}: "
            f"{first.partition(' E ')[2] or first:.300})"
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    for completion in result["completions"]:
        if "error" in completion:
            reason = completion["error"].get("message", completion["error"])
            raise AutopruneError(f"llama.cpp refused a prompt for {file.name}: {reason}")
    return result
