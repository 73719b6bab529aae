"""A model folder with its safetensors files encoded sparsely, and the way back.

Layout: every file of the folder is kept, except that ``NAME.safetensors`` becomes
``NAME.compact.safetensors`` and the model card is replaced (see :mod:`autoprune.checkpoint.card`).
``compact.json`` has the encoding, the SHA-256 of each file and the header of each dense one.
Inside, a tensor ``t`` is stored as itself when that is smaller (embeddings, norms, dense layers),
otherwise as ``t::PART`` for each part of the encoding; shapes are in the file's metadata.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autoprune.checkpoint.card import replace_card, restore_card
from autoprune.checkpoint.encodings import ENCODINGS, Encoding, bits_equal
from autoprune.checkpoint.header import read_header, write_dense
from autoprune.digest import digest_file, verify_file
from autoprune.errors import AutopruneError, DamagedFileError, UsageError
from autoprune.progress import Progress, Report, silent
from autoprune.storage import atomic_folder, plain_name, write_json
from autoprune.targets import check_folder

RECORD = "compact.json"
FORMAT = "autoprune-compact"
VERSION = 1
# How a caller allows a replacement, for messages.
ALLOW = "pass overwrite=True"
_DENSE_SUFFIX = ".safetensors"
_SUFFIX = ".compact.safetensors"
_LAYOUT = "autoprune.layout"
_PART = "::"


@dataclass(frozen=True)
class CompactSize:
    """What was written.

    Args:
        encoding: Name of the encoding.
        dense_bytes: Bytes of the safetensors files that were read.
        compact_bytes: Bytes of the safetensors files that were written.
        encoded: Tensors stored sparsely.
        tensors: Tensors in total.
        seconds: Time to encode and write, digests included.
    """

    encoding: str
    dense_bytes: int
    compact_bytes: int
    encoded: int
    tensors: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Compact bytes per dense byte."""
        return self.compact_bytes / self.dense_bytes


def is_compact(folder: Path) -> bool:
    """Whether ``folder`` is a compact checkpoint."""
    return (folder / RECORD).is_file()


def write_compact(
    source: Path,
    target: Path,
    *,
    encoding: str = "bitmask",
    overwrite: bool = False,
    report: Report = silent,
) -> CompactSize:
    """Encode a model folder; atomic, one shard in memory at a time."""
    chosen = ENCODINGS.get(encoding)
    shards = _dense_shards(source)
    check_folder(target, sources=[source], overwrite=overwrite, allow=ALLOW)
    begin = time.perf_counter()
    digests: dict[str, str] = {}
    headers: dict[str, str] = {}
    encoded = tensors = compact_bytes = 0
    with atomic_folder(target) as folder:
        _copy_others(source, folder, skip=_DENSE_SUFFIX)
        for number, shard in enumerate(shards, 1):
            written = folder / shard.name.replace(_DENSE_SUFFIX, _SUFFIX)
            counts = _encode_shard(shard, written, chosen)
            encoded, tensors = encoded + counts[0], tensors + counts[1]
            digests[written.name] = digest_file(written)
            headers[written.name] = read_header(shard)
            compact_bytes += written.stat().st_size
            report(Progress("compact", number, len(shards), shard.name))
        record = {"format": FORMAT, "version": VERSION, "encoding": encoding, "files": digests}
        record |= {"headers": headers, "card": replace_card(folder, encoding)}
        write_json(folder / RECORD, record)
    dense_bytes = sum(shard.stat().st_size for shard in shards)
    seconds = time.perf_counter() - begin
    return CompactSize(encoding, dense_bytes, compact_bytes, encoded, tensors, seconds)


def require_equal(dense: Path, compact: Path) -> int:
    """Check that a compact checkpoint gives back every tensor of a dense folder, bit for bit."""
    compared = 0
    for shard in _dense_shards(dense):
        written = compact / shard.name.replace(_DENSE_SUFFIX, _SUFFIX)
        with _opened(shard) as source:
            left = set(source.keys())
            for name, tensor in _decode_shard(written):
                if name not in left or not bits_equal(tensor, source.get_tensor(name)):
                    raise AutopruneError(
                        f"{name} did not come back from {compact} equal to the bit; keep the "
                        "dense folder and report this as a fault of AutoPrune"
                    )
                left.remove(name)
                compared += 1
        if left:
            raise AutopruneError(
                f"{', '.join(sorted(left))} did not come back from {compact}; keep the dense folder"
            )
    return compared


def expand_compact(
    source: Path, target: Path, *, overwrite: bool = False, report: Report = silent
) -> Path:
    """Restore the stock model folder that any ``from_pretrained`` loads; atomic.

    Every file is as it was, byte for byte; of a folder written before 0.3.0, every tensor.
    """
    check_folder(target, sources=[source], overwrite=overwrite, allow=ALLOW)
    record = _read_record(source)
    files, card, headers = record["files"], record["card"], record["headers"]
    with atomic_folder(target) as folder:
        _copy_others(source, folder, skip=_SUFFIX)
        (folder / RECORD).unlink()
        if card:
            restore_card(folder)
        for number, (name, digest) in enumerate(sorted(files.items()), 1):
            shard = source / name
            tensors = dict(_decode_shard(shard, digest))
            written = folder / name.replace(_SUFFIX, _DENSE_SUFFIX)
            if name in headers:
                write_dense(written, headers[name], tensors)
            else:
                _save(tensors, written, _metadata(shard))
            report(Progress("expand", number, len(files), written.name))
    return target


def _dense_shards(folder: Path) -> list[Path]:
    shards = sorted(
        path for path in folder.glob(f"*{_DENSE_SUFFIX}") if not path.name.endswith(_SUFFIX)
    )
    if not shards or is_compact(folder):
        raise UsageError(
            f"{folder} holds no dense safetensors file; pass a folder that `save_pretrained` wrote"
        )
    return shards


def _copy_others(source: Path, folder: Path, *, skip: str) -> None:
    for path in source.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif not path.name.endswith(skip):
            try:
                path.open("rb").close()
            except OSError as error:
                raise DamagedFileError(f"{path} cannot be read ({error.strerror})") from error
            shutil.copyfile(path, folder / path.name)


def _encode_shard(shard: Path, written: Path, encoding: Encoding) -> tuple[int, int]:
    stored: dict[str, Tensor] = {}
    layout: dict[str, list[int]] = {}
    with _opened(shard) as source:
        metadata = dict(source.metadata() or {})
        names = list(source.keys())
        for name in names:
            tensor = source.get_tensor(name)
            parts = _smaller_parts(tensor, encoding)
            if parts is None:
                stored[name] = tensor
                continue
            layout[name] = list(tensor.shape)
            stored |= {f"{name}{_PART}{part}": value for part, value in parts.items()}
    contents = {"encoding": encoding.name, "shapes": layout}
    _save(stored, written, metadata | {_LAYOUT: json.dumps(contents)})
    return len(layout), len(names)


@contextmanager
def _opened(shard: Path) -> Iterator[Any]:
    """Open a dense shard to read; around it, an OSError is a failed write."""
    try:
        with safe_open(shard, "pt") as source:
            yield source
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{shard} cannot be read ({error}); get it again") from error


def _save(tensors: dict[str, Tensor], written: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, written, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _smaller_parts(tensor: Tensor, encoding: Encoding) -> dict[str, Tensor] | None:
    """Encoded parts where they take fewer bytes than the tensor itself."""
    if tensor.dim() < 2 or not tensor.is_floating_point():
        return None
    parts = encoding.encode(tensor)
    return parts if sum(part.nbytes for part in parts.values()) < tensor.nbytes else None


def _decode_shard(shard: Path, digest: str | None = None) -> Iterator[tuple[str, Tensor]]:
    try:
        if digest is not None:
            verify_file(shard, digest)
        with safe_open(shard, "pt") as source:
            contents = json.loads((source.metadata() or {})[_LAYOUT])
            encoding, shapes = ENCODINGS.get(contents["encoding"]), contents["shapes"]
            parts: dict[str, dict[str, str]] = {}
            for key in source.keys():  # noqa: SIM118
                name, found, part = key.rpartition(_PART)
                if found and name in shapes:
                    parts.setdefault(name, {})[part] = key
                else:
                    yield key, source.get_tensor(key)
            for name, shape in shapes.items():
                pieces = {part: source.get_tensor(key) for part, key in parts[name].items()}
                yield name, encoding.decode(pieces, tuple(shape))
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise DamagedFileError(
            f"{shard} is not a readable compact file ({error}); write it again from the dense "
            "folder"
        ) from error


def _metadata(shard: Path) -> dict[str, str]:
    with safe_open(shard, "pt") as source:
        metadata = dict(source.metadata() or {})
    metadata.pop(_LAYOUT, None)
    return metadata


def _read_record(folder: Path) -> dict[str, Any]:
    if not is_compact(folder):
        raise UsageError(
            f"{folder} is not a compact checkpoint: it holds no {RECORD}; name a folder that "
            "`autoprune compact` wrote"
        )
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        known = record["format"] == FORMAT and record["version"] == VERSION
        found = record["files"].items()
        card = record.get("card") is True
        files = {plain_name(name, folder / RECORD): str(digest) for name, digest in found}
        headers = {str(name): str(text) for name, text in record.get("headers", {}).items()}
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise DamagedFileError(
            f"{folder / RECORD} is not readable ({error}); write the folder again from the dense "
            "one"
        ) from error
    if not known:
        raise UsageError(
            f"{folder / RECORD} is of format {record['format']} {record['version']}; "
            f"this version reads {FORMAT} {VERSION}"
        )
    return {"files": files, "card": card, "headers": headers}
