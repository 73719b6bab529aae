"""Write a model as a GGUF file, read it back, and compare what llama.cpp computes with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models import llama_cpp
from autoprune.models.gguf_sources import GgufSource, open_checkpoint
from autoprune.models.gguf_types import FileType, check_bound, dequantise, file_type, quantise
from autoprune.models.reference import read_from
from autoprune.progress import Progress, Report, silent
from autoprune.storage import atomic_file
from autoprune.targets import OPTION, check_file

# Allowed root mean square difference, in nats, between log-probabilities of llama.cpp and
# transformers with the same weights. llama.cpp keeps keys and values in float16, multiplies float16
# with float16, and quantised weights with 8-bit activations.
BOUNDS = {"f32": 0.01, "f16": 0.03, "bf16": 0.15}
QUANTISED_BOUND = 0.4
_PROMPTS = ("The capital of France is", "def add(a, b):\n    return")
_NEW = 8
# Words, digits, spaces, line ends, accents, another script: where tokenizers differ.
_PROBE = "It's 1234567 o'clock,  isn't it?\n\n\tNaïve café — 北京 x1=0.5;"


@dataclass(frozen=True)
class Agreement:
    """How closely llama.cpp and transformers agree on the same weights.

    Args:
        tokens: Greedy tokens of llama.cpp that were compared.
        same: Number of them that are the most probable in transformers too.
        nats: Root mean square difference of the log-probabilities of the most probable tokens.
        bound: Largest allowed value of ``nats``.
        largest: Largest single difference, in nats.
        cuts: Whether both tokenise a text of many scripts identically.
    """

    tokens: int
    same: int
    nats: float
    bound: float
    largest: float
    cuts: bool


@dataclass(frozen=True)
class Exported:
    """A written and checked GGUF file.

    Args:
        file: Path of the file.
        type: Type of its weights, as ``--gguf`` names it.
        bytes: Its size.
        parameters: Weights of all tensors.
        tensors: Number of tensors by type.
        zeros: Share of zeros among the matrices of the blocks, in the source.
        zeros_kept: The same in the file.
        worst: Largest error of a weight, in units of what its type allows.
        agreement: What llama.cpp computes with it; None if that was not requested.
        notes: What a reader should know.
    """

    file: Path
    type: str
    bytes: int
    parameters: int
    tensors: Mapping[str, int]
    zeros: float
    zeros_kept: float
    worst: float
    agreement: Agreement | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return {**asdict(self), "file": str(self.file), "bits_per_weight": self.bits_per_weight}

    @property
    def bits_per_weight(self) -> float:
        """Bits of the file per parameter, metadata included."""
        return 8 * self.bytes / self.parameters


def export_gguf(
    model: str | Path,
    out: str | Path,
    kind: str = "q8_0",
    *,
    overwrite: bool = False,
    compute: bool = True,
    report: Report = silent,
) -> Exported:
    """Write a dense or pruned model as a GGUF file that llama.cpp loads.

    The file appears complete and checked, or not at all. Every tensor is read back and compared;
    where ``xllamacpp`` is installed, llama.cpp also continues two texts, and its log-probabilities
    are compared with those of transformers on the same weights.

    Args:
        model: A saved folder, a hub id, a ``.gguf`` file or ``package:module/file``.
        out: File to write; its name ends in ``.gguf``.
        kind: One of :data:`autoprune.models.gguf_types.FILE_TYPES`.
        overwrite: Whether an existing file may be replaced; the source never is.
        compute: Have llama.cpp compute with it; False for a model that does not fit in memory.
        report: Called with progress.

    Raises:
        UsageError: If the model, its family, its tokenizer, the type or the target is unusable.
        PrerequisiteError: If the type needs llama.cpp, which is not installed.
        AutopruneError: If a check fails or the disk is full; nothing is written then.
    """
    out = Path(out).expanduser()
    kinds = file_type(kind)
    if out.suffix != ".gguf":
        raise UsageError(
            f"{out} does not end in .gguf, and readers look for that; name a .gguf file"
        )
    # The command and Python call this alike.
    allow = f"{OPTION} (in Python overwrite=True)"
    check_file(out, sources=[read_from(str(model))], overwrite=overwrite, allow=allow)
    checkpoint = open_checkpoint(str(model))
    with atomic_file(out, large=True) as temporary:
        _write(checkpoint, kinds, temporary, report)
        counts = _read_back(checkpoint, temporary, report)
        agreement = None
        if not compute:
            checkpoint.notes.append(
                "llama.cpp was asked neither to compute with it nor to split a text into tokens"
            )
        elif llama_cpp.installed():
            agreement = _compare(checkpoint, temporary, kinds)
            report(Progress("compute", 1, 1, f"{agreement.nats:.3g} nats"))
        else:
            checkpoint.notes.append(
                "llama.cpp was asked neither to compute with it nor to split a text into tokens: "
                "xllamacpp is not installed (`pip install 'autoprune[demo]'`)"
            )
        size = temporary.stat().st_size
    notes = tuple(checkpoint.notes)
    return Exported(out, kinds.name, size, **counts, agreement=agreement, notes=notes)


def _write(checkpoint: GgufSource, kinds: FileType, file: Path, report: Report) -> None:
    writer = gguf.GGUFWriter(str(file), checkpoint.family.name)
    try:
        checkpoint.add_metadata(writer)
        writer.add_file_type(kinds.number)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        chosen = {}
        for name, shape in checkpoint.shapes.items():
            kind = kinds.kind(name, shape, checkpoint.blocks, tied=checkpoint.tied)
            block, size = gguf.GGML_QUANT_SIZES[kind]
            number = int(np.prod(shape)) // block * size
            writer.add_tensor_info(name, shape, np.dtype(np.float32), number, raw_dtype=kind)
            chosen[name] = kind
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, (name, kind) in enumerate(chosen.items(), 1):
            writer.write_tensor_data(quantise(checkpoint.read(name), kind))
            report(Progress("write", done, len(chosen), name))
    finally:
        writer.close()


def _read_back(checkpoint: GgufSource, file: Path, report: Report) -> dict[str, Any]:
    """Compare every tensor of the file with its source; return counts for the record."""
    tensors = gguf.GGUFReader(str(file)).tensors
    held = {tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in tensors}
    if held != checkpoint.shapes:
        raise AutopruneError(
            "the file does not hold the tensors that were written; nothing is kept"
        )
    kinds: Counter[str] = Counter()
    parameters = matrices = zeros = kept = 0
    worst = 0.0
    for done, tensor in enumerate(tensors, 1):
        weight = checkpoint.read(tensor.name)
        back = dequantise(tensor.data, tensor.tensor_type).reshape(weight.shape)
        worst = max(worst, check_bound(tensor.name, weight, back, tensor.tensor_type))
        kinds[tensor.tensor_type.name] += 1
        parameters += weight.size
        if tensor.name.startswith("blk.") and weight.ndim > 1:
            matrices += weight.size
            zeros += weight.size - int(np.count_nonzero(weight))
            kept += weight.size - int(np.count_nonzero(back))
        report(Progress("read back", done, len(tensors), tensor.name))
    return {
        "parameters": parameters, "tensors": dict(kinds), "worst": worst,
        "zeros": zeros / matrices, "zeros_kept": kept / matrices,
    }  # fmt: skip


@torch.inference_mode()
def _compare(checkpoint: GgufSource, file: Path, kinds: FileType) -> Agreement:
    """Have llama.cpp and transformers continue the same prompts."""
    tokenizer = checkpoint.tokenizer
    bound = BOUNDS.get(kinds.name, QUANTISED_BOUND)
    begun, logs = _greedy(checkpoint.model_of(file), tokenizer)
    steps, texts = llama_cpp.next_tokens(file, begun, texts=[_PROBE])
    same, gaps = [], []
    for step, log in zip(steps, logs, strict=True):
        if step is not None:
            same.append(int(log.argmax()) == step.token)
            gaps += [float(log[key]) - value for key, value in step.top.items()]
    # Where every token is part of a character, there is nothing to compare.
    nats = float(np.sqrt(np.mean(np.square(gaps)))) if gaps else 0.0
    if not nats <= bound:
        raise AutopruneError(
            f"llama.cpp and transformers differ by {nats:.3g} nats on the same weights, "
            f"{bound:g} are allowed for {kinds.name}: the file would compute something else, and "
            "is not kept; try f32, which is compared most closely, and report the model if that "
            "fails too"
        )
    cuts = texts[0] == tokenizer(_PROBE, add_special_tokens=False).input_ids
    if not cuts:
        if not checkpoint.copied:
            raise AutopruneError(
                "llama.cpp cuts a text into other tokens than the model's tokenizer, so that "
                "the file would see other input than it was trained on; it is not kept; please "
                "report the model"
            )
        checkpoint.notes.append(
            "transformers' reading of this tokenizer cuts some texts otherwise than llama.cpp"
        )
    return Agreement(len(same), sum(same), nats, bound, max(map(abs, gaps), default=0.0), cuts)


def _greedy(model: PreTrainedModel, tokenizer: Any) -> tuple[list[list[int]], list[Tensor]]:
    """Greedy continuations of the prompts, token by token."""
    begun: list[list[int]] = []
    logs: list[Tensor] = []
    for text in _PROMPTS:
        ids = list(tokenizer(text).input_ids)
        for _ in range(_NEW):
            log = model(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
            begun.append(list(ids))
            logs.append(log)
            ids.append(int(log.argmax()))
    return begun, logs
