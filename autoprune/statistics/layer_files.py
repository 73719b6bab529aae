"""Layers as anonymous files for the sandbox: weights and statistics, nothing else."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from autoprune.digest import digest_bytes, digest_file
from autoprune.errors import UsageError
from autoprune.models.structure import PrunableLinear
from autoprune.statistics.statistics import Statistics
from autoprune.storage import atomic_file

HIDDEN_FROM_CANDIDATES = frozenset({"gram"})


@dataclass(frozen=True)
class LayerFile:
    """One layer on disk.

    Args:
        layer_name: Name of the matrix, not disclosed to the reader of the file.
        path: Safetensors with ``W`` ``[o, i]`` float32 and the statistics by name.
        shape: ``(o, i)``.
        digest: SHA-256 of the file, which is also its name.
    """

    layer_name: str
    path: Path
    shape: tuple[int, int]
    digest: str


def write_layer_files(
    layers: Iterable[PrunableLinear],
    statistics: Statistics,
    folder: Path,
    *,
    names: Collection[str],
) -> list[LayerFile]:
    """Write one read-only file per matrix; existing files are not written again."""
    if forbidden := HIDDEN_FROM_CANDIDATES.intersection(names):
        raise UsageError(f"{', '.join(sorted(forbidden))} is not for candidates; leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(layer, statistics, folder, names) for layer in layers]


def _write(
    layer: PrunableLinear, statistics: Statistics, folder: Path, names: Collection[str]
) -> LayerFile:
    known = statistics.of(layer.name)
    if missing := sorted(set(names) - set(known)):
        raise UsageError(
            f"{', '.join(missing)} was not collected for {layer.name}; collected are "
            f"{', '.join(sorted(known))}"
        )
    tensors = {name: known[name].float().contiguous() for name in names}
    tensors["W"] = layer.read().float().cpu().contiguous()
    content = save(tensors)
    digest = digest_bytes(content)
    path = folder / f"{digest}.safetensors"
    if not path.exists() or digest_file(path) != digest:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        path.chmod(0o444)
    return LayerFile(layer.name, path, layer.shape, digest)
