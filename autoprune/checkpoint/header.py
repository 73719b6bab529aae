"""The header of a safetensors file, kept so that the file comes back byte for byte.

A file is the length of its header (8 bytes, little endian), the header (JSON, which may be padded)
and the tensors in the order of the offsets that it names.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from autoprune.errors import DamagedFileError

_LENGTH = 8


def read_header(file: Path) -> str:
    """The header as it is written, padding included."""
    with file.open("rb") as source:
        length = int.from_bytes(source.read(_LENGTH), "little")
        return source.read(length).decode("utf-8")


def write_dense(file: Path, header: str, tensors: Mapping[str, Tensor]) -> None:
    """Write the file that a header was read from."""
    described = {name: body for name, body in json.loads(header).items() if name != "__metadata__"}
    if described.keys() != tensors.keys():
        raise DamagedFileError(
            f"the header kept for {file.name} names other tensors than the compact file holds; "
            "write it again from the dense folder"
        )
    encoded = header.encode("utf-8")
    with file.open("wb") as target:
        target.write(len(encoded).to_bytes(_LENGTH, "little"))
        target.write(encoded)
        for name in sorted(described, key=lambda name: described[name]["data_offsets"]):
            flat = tensors[name].contiguous().reshape(-1).view(torch.uint8)
            target.write(flat.numpy().data)
