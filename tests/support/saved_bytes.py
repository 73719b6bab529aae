"""Bytes of the tensors in a saved model's files, without headers."""

from pathlib import Path

from safetensors import safe_open


def tensor_bytes(folder: Path) -> int:
    """Sum over the tensors of all weight files."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys()
            total += sum(t.numel() * t.element_size() for t in map(tensors.get_tensor, names))
    return total
