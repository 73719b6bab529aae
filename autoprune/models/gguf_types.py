"""Weight types of GGUF files: which matrix gets which type, written and checked.

Simple types are written by the ``gguf`` package in numpy. K-quants are computed by llama.cpp's own
code (``ggml_quantize_chunk``) from the library that ``xllamacpp`` installs. Which matrix gets which
type in a mixture, and what replaces a type whose blocks do not divide a row, follow
``llama-quantize`` (llama.cpp, ``src/llama-quant.cpp``).
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from numpy.typing import NDArray

from autoprune.errors import AutopruneError, PrerequisiteError, UnknownNameError

Floats = NDArray[np.float32]
# Weights compared at once.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class FileType:
    """A file type that ``--gguf`` can name.

    Args:
        name: Name as typed.
        base: Type of most matrices.
        number: ``general.file_type`` of the file.
        mixed: Type of a matrix that differs from the base, from its part of the block, the block
            number and the number of blocks.
    """

    name: str
    base: Kind
    number: LlamaFileType
    mixed: Callable[[str, int, int], Kind | None] = lambda part, block, blocks: None

    @property
    def quantised(self) -> bool:
        """Whether weights are codes of a block with a scale."""
        return self.base not in _PLAIN

    def kind(self, name: str, shape: tuple[int, ...], blocks: int, *, tied: bool) -> Kind:
        """The type of one tensor."""
        if len(shape) < 2:
            return Kind.F32
        if not self.quantised:
            return self.base
        part = name.split(".")
        if "ffn_gate_inp" in part:
            # A router is small and decides which expert works; llama.cpp keeps it whole too.
            return Kind.F32
        if name == ("token_embd.weight" if tied else "output.weight"):
            # The head decides every token, so it has a finer type, as in llama.cpp.
            wanted: Kind = Kind.Q6_K if self.base in _CODED_BY_LLAMA_CPP else Kind.Q8_0
        elif part[0] == "blk":
            wanted = self.mixed(part[2], int(part[1]), blocks) or self.base
        else:
            wanted = self.base
        while shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
            wanted = _STAND_IN.get(wanted, Kind.F16)
        return wanted


def _more_bits(block: int, blocks: int) -> bool:
    eighth = blocks // 8
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2


def _medium(part: str, block: int, blocks: int) -> Kind | None:
    finer = part in ("attn_v", "ffn_down") and _more_bits(block, blocks)
    return Kind.Q6_K if finer else None


def _three_medium(part: str, block: int, blocks: int) -> Kind | None:
    if part == "attn_v":
        return Kind.Q5_K if block < 2 else Kind.Q4_K
    if part == "ffn_down":
        return Kind.Q5_K if block < blocks // 16 else Kind.Q4_K
    return Kind.Q4_K if part == "attn_output" else None


_PLAIN = frozenset({Kind.F32, Kind.F16, Kind.BF16})
_CODED_BY_LLAMA_CPP = frozenset({Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_NL})
_STAND_IN = {
    Kind.Q3_K: Kind.IQ4_NL, Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0,
}  # fmt: skip

FILE_TYPES = {
    entry.name: entry
    for entry in (
        FileType("f32", Kind.F32, LlamaFileType.ALL_F32),
        FileType("f16", Kind.F16, LlamaFileType.MOSTLY_F16),
        FileType("bf16", Kind.BF16, LlamaFileType.MOSTLY_BF16),
        FileType("q8_0", Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
        FileType("q5_1", Kind.Q5_1, LlamaFileType.MOSTLY_Q5_1),
        FileType("q5_0", Kind.Q5_0, LlamaFileType.MOSTLY_Q5_0),
        FileType("q4_1", Kind.Q4_1, LlamaFileType.MOSTLY_Q4_1),
        FileType("q4_0", Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
        FileType("q6_k", Kind.Q6_K, LlamaFileType.MOSTLY_Q6_K),
        FileType("q5_k_m", Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_M, _medium),
        FileType("q4_k_m", Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_M, _medium),
        FileType("q3_k_m", Kind.Q3_K, LlamaFileType.MOSTLY_Q3_K_M, _three_medium),
    )
}


def file_type(name: str) -> FileType:
    """The file type of this name."""
    if name.lower() not in FILE_TYPES:
        raise UnknownNameError("GGUF type", name, FILE_TYPES)
    found = FILE_TYPES[name.lower()]
    if found.base in _CODED_BY_LLAMA_CPP:
        _llama_cpp()
    return found


def quantise(weight: Floats, kind: Kind) -> NDArray[Any]:
    """The weights as a file holds them."""
    if kind not in _CODED_BY_LLAMA_CPP:
        with np.errstate(over="ignore"):
            return np.asarray(gguf.quants.quantize(weight, kind))
    rows = np.ascontiguousarray(weight, dtype=np.float32).reshape(-1, weight.shape[-1])
    block, size = gguf.GGML_QUANT_SIZES[kind]
    codes = np.empty((len(rows), rows.shape[1] // block * size), dtype=np.uint8)
    written = _llama_cpp()(
        int(kind), rows.ctypes.data, codes.ctypes.data, 0, len(rows), rows.shape[1], None
    )
    if written != codes.nbytes:
        raise AutopruneError(
            f"llama.cpp wrote {written:,} bytes of {kind.name}, {codes.nbytes:,} were due; the "
            "installed xllamacpp does not fit this gguf package: update both"
        )
    return codes.reshape(*weight.shape[:-1], codes.shape[1])


def dequantise(data: NDArray[Any], kind: Kind) -> Floats:
    """Inverse of :func:`quantise`, as far as the type allows: float32 ``[..., in]``."""
    return np.asarray(gguf.quants.dequantize(data, kind), dtype=np.float32)


# Largest error as a share of the largest weight of a block, plus what the smallest scale that
# float16 can hold adds. Simple types: half a step (Q4_0 and Q5_0: a whole one, where the opposite
# extreme is clipped). Other types: as found over many distributions, with a margin of a quarter.
_BOUNDS = {
    Kind.F32: (0.0, 0.0), Kind.F16: (2.0**-11, 2.0**-25), Kind.BF16: (2.0**-8, 1e-38),
    Kind.Q8_0: (0.0045, 1e-5), Kind.Q5_1: (0.034, 1e-5), Kind.Q5_0: (0.0635, 1e-5),
    Kind.Q4_1: (0.068, 1e-5), Kind.Q4_0: (0.126, 1e-5), Kind.Q6_K: (0.03, 2e-4),
    Kind.Q5_K: (0.08, 1e-4), Kind.Q4_K: (0.13, 1e-4), Kind.Q3_K: (0.33, 1e-4),
    Kind.IQ4_NL: (0.16, 1e-4),
}  # fmt: skip


def check_bound(name: str, weight: Floats, back: Floats, kind: Kind) -> float:
    """Largest error of a tensor, relative to what its type allows."""
    share, least = _BOUNDS[kind]
    block = gguf.GGML_QUANT_SIZES[kind][0]
    worst = 0.0
    rows = max(1, _CHUNK // weight.shape[-1]) if weight.ndim > 1 else len(weight)
    for start in range(0, len(weight), rows):
        part = weight[start : start + rows].reshape(-1, block)
        error = np.abs(back[start : start + rows].reshape(-1, block) - part).max(axis=1)
        allowed = share * np.abs(part).max(axis=1) + least
        # An overflow gives NaN, which compares as false, so the condition is negated.
        if not bool(np.all(error <= allowed)):
            raise AutopruneError(
                f"{name} does not fit the type {kind.name}: a weight is off by "
                f"{float(np.max(error)):.3g} where a block allows {float(allowed.max()):.3g}; "
                "take a wider type, such as bf16 or f32"
            )
        if least:
            worst = max(worst, float((error / allowed).max()))
    return worst


@lru_cache(maxsize=1)
def _llama_cpp() -> Callable[..., int]:
    """``ggml_quantize_chunk(type, source, target, start, rows, columns, imatrix)``."""
    simple = ", ".join(
        name for name, entry in FILE_TYPES.items() if entry.base not in _CODED_BY_LLAMA_CPP
    )
    if find_spec("xllamacpp") is None:
        raise PrerequisiteError(
            "K-quants are computed by llama.cpp, and xllamacpp is not installed; run `pip install "
            f"'autoprune[demo]'`, or take a type that needs none: {simple}"
        )
    try:
        library = ctypes.CDLL(import_module("xllamacpp.xllamacpp").__file__)
        call: Any = library.ggml_quantize_chunk
    except (OSError, AttributeError, ImportError) as error:
        raise PrerequisiteError(
            "the installed xllamacpp does not offer llama.cpp's ggml_quantize_chunk "
            f"({type(error).__name__}); install another version, or take one of: {simple}"
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    call.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    call.restype = ctypes.c_size_t
    return call  # type: ignore[no-any-return]
