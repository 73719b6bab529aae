"""Timing of prompts and of generation, with warm-up and synchronisation; peak memory."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from transformers import GenerationConfig, PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.positions import position_limit
from autoprune.models.saved_type import weight_bytes
from autoprune.models.structure import text_config
from autoprune.precision import type_name
from autoprune.text.sampling import without_checkpoint_settings

# Defaults of the suite ``cost``.
PROMPT, NEW, REPEATS = 128, 32, 5
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CHILD = "autoprune.evaluation.suites.memory_child"
# How long it may take.
_SECONDS = 1800


@dataclass(frozen=True)
class Timing:
    """Times of one batch size.

    Args:
        prompt_seconds: Each timed pass over the prompts.
        decode_seconds: Each timed generation, prompt included.
        batch: Sequences computed together.
        new: Tokens generated per sequence.
    """

    prompt_seconds: tuple[float, ...]
    decode_seconds: tuple[float, ...]
    batch: int
    new: int

    @property
    def rates(self) -> tuple[float, ...]:
        """New tokens per second of each timed generation, all sequences together."""
        return tuple(self.batch * self.new / seconds for seconds in self.decode_seconds)

    def prefill(self, prompt: int) -> tuple[float, ...]:
        """Prompt tokens per second, for prompts of ``prompt`` tokens."""
        return tuple(self.batch * prompt / seconds for seconds in self.prompt_seconds)

    @property
    def decode(self) -> tuple[float, ...]:
        """New tokens per second after the first one, with the time of the prompt subtracted.

        Runs whose generation took no longer than the prompt are left out.
        """
        pairs = zip(self.prompt_seconds, self.decode_seconds, strict=True)
        beyond = [whole - prompt for prompt, whole in pairs if whole > prompt]
        return tuple(self.batch * (self.new - 1) / seconds for seconds in beyond if self.new > 1)


def prompt_ids(model: PreTrainedModel, batch: int, prompt: int, seed: int) -> torch.Tensor:
    """Random tokens, int64 ``[batch, prompt]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, text_config(model).vocab_size, (batch, prompt), generator=generator)


@torch.inference_mode()
def time_once(
    model: PreTrainedModel, batch: int, prompt: int, new: int, seed: int
) -> tuple[float, float]:
    """Seconds of one pass over the prompts, and of one generation with the prompts.

    Prompts are random tokens, since time does not depend on their content.
    """
    ids = prompt_ids(model, batch, prompt, seed).to(model.device)
    mask = torch.ones_like(ids)
    # No end token: every sequence is generated to the full length.
    greedy = GenerationConfig(
        max_new_tokens=new, min_new_tokens=new, do_sample=False, use_cache=True, pad_token_id=0
    )
    with without_checkpoint_settings(model):
        begin = _now(model)
        model(input_ids=ids, attention_mask=mask, use_cache=True)
        middle = _now(model)
        model.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
        return middle - begin, _now(model) - middle


def require_room(model: PreTrainedModel, prompt: int, new: int) -> None:
    """Check that a prompt and its reply fit the model."""
    limit = position_limit(model)
    if limit is not None and prompt + new > limit:
        raise UsageError(
            f"prompt {prompt} and {new} new tokens exceed the model's {limit} "
            "positions; make them shorter"
        )


def tokens_per_second(model: PreTrainedModel) -> float:
    """Throughput as the suite ``cost`` measures it, at batch 1: median of runs after a warm-up."""
    require_room(model, PROMPT, NEW)
    runs = [time_once(model, 1, PROMPT, NEW, 0) for _ in range(REPEATS + 1)][1:]
    prompts, decodes = zip(*runs, strict=True)
    return statistics.median(Timing(prompts, decodes, 1, NEW).rates)


@contextmanager
def peak_memory(model: PreTrainedModel) -> Iterator[list[float]]:
    """Collect the peak memory of the block, in bytes, as the only entry of the list.

    On an accelerator it is what torch allocated there, else the resident memory of the process. The
    list stays empty if the system does not report it.
    """
    peak: list[float] = []
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        yield peak
        peak.append(float(torch.cuda.max_memory_allocated(model.device)))
        return
    resettable = sys.platform == "linux" and _reset_resident_peak()
    yield peak
    if resettable:
        peak.append(_resident_peak())


def peaks_alone(
    folder: Path, like: PreTrainedModel, batches: Sequence[int], prompt: int, new: int, seed: int
) -> list[float | None]:
    """Peak memory of a process that holds a saved model and nothing else, in bytes.

    The process that measures a pruned model may hold the dense one too, statistics and text.
    """
    needed, free = weight_bytes(folder), _free_memory(like.device)
    if needed > free:
        raise AutopruneError(
            f"it takes a process with a copy of the weights, {needed / 1e9:.2f} GB, and "
            f"{free / 1e9:.2f} GB of memory are free"
        )
    job = {
        "folder": str(folder), "dtype": type_name(like.dtype),
        "device": str(like.device), "threads": torch.get_num_threads(), "batches": list(batches),
        "prompt": prompt, "new": new, "seed": seed,
    }  # fmt: skip
    # -P: nothing of the current folder is imported, whatever lies there.
    command = [sys.executable, "-P", "-m", _CHILD]
    try:
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AutopruneError(f"its process did not end within {_SECONDS:,} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AutopruneError(f"its process ended with exit code {done.returncode} ({last:.300})")
    found: list[float | None] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _free_memory(device: torch.device) -> int:
    """Bytes that another process could take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def _now(model: PreTrainedModel) -> float:
    if model.device.type != "cpu":
        torch.accelerator.synchronize(model.device)
    return time.perf_counter()


def _reset_resident_peak() -> bool:
    try:
        # 5 sets the high-water mark back to the present; see proc(5).
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> float:
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM:"))
    return float(line.split()[1]) * 1024
