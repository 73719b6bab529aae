"""The store of statistics and windows shared by several machines: a folder, or any fsspec URL."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.digest import digest_json
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.numerics import computed_by
from autoprune.store import Store, read_sidecar, sidecar_of
from tasks.addresses import keeping_quiet, opened_address
from tasks.state import State
from tasks.switches import DEVICE_VARIABLE
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from tasks.compare_bench import CompareBench


class SharedStore(Store):
    """A store with a remote copy: looked up there first, written there once made.

    Fetched files are checked against their digest like everything in a store, which detects a
    file that changed in transit.

    Args:
        root: Folder of the local copy.
        url: fsspec URL of the shared folder, for example ``s3://bucket/autoprune``; give a login
            as ``$VARIABLE``, so that no record or message holds one.

    Raises:
        PrerequisiteError: If the package for this kind of URL is missing.
        UsageError: If there is no such kind of URL.
    """

    def __init__(self, root: Path, url: str) -> None:
        super().__init__(root)
        import fsspec

        self._address = opened_address(url)
        try:
            with keeping_quiet(self._address):
                self._files, self._base = fsspec.core.url_to_fs(self._address)
        except ImportError as error:
            raise PrerequisiteError(f"the shared store {url} needs a package: {error}") from error
        except ValueError as error:
            raise UsageError(
                f"the shared store {url!r} cannot be opened ({error}); give a folder or an fsspec "
                "URL such as s3://bucket/folder"
            ) from error

    def _found_or_made(
        self, key: Mapping[str, Any], path: Path, write: Callable[[Path], Any]
    ) -> dict[str, Any]:
        """See :meth:`Store._found_or_made`; made only if neither copy exists."""
        sidecar = sidecar_of(path)
        if not (path.exists() and sidecar.exists()):
            with keeping_quiet(self._address):
                self._fetch(path, sidecar)
        found = super()._found_or_made(key, path, write)
        with keeping_quiet(self._address):
            self._send(path, sidecar)
        return found

    def _there(self, place: Path, sha256: str = "") -> str:
        """Where a file is kept.

        Data has its digest in its name: two machines may send theirs at the same time, and each
        sidecar then still names the file that it belongs to.
        """
        if sha256:
            place = place.with_name(f"{place.stem}.{sha256[:16]}{place.suffix}")
        return f"{self._base.rstrip('/')}/{place.relative_to(self.root).as_posix()}"

    def _fetch(self, path: Path, sidecar: Path) -> None:
        if not self._files.exists(self._there(sidecar)):
            return
        # The sidecar last: a file without one counts as missing.
        record = sidecar.with_name(f".{sidecar.name}.{os.getpid()}")
        data = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._files.get_file(self._there(sidecar), str(record))
            there = self._there(path, read_sidecar(record)["sha256"])
            if self._files.exists(there):
                self._files.get_file(there, str(data))
                data.replace(path)
                record.replace(sidecar)
        finally:
            for part in (record, data):
                part.unlink(missing_ok=True)

    def _send(self, path: Path, sidecar: Path) -> None:
        there = self._there(path, read_sidecar(sidecar)["sha256"])
        if self._files.exists(there) and self._files.exists(self._there(sidecar)):
            return
        self._files.makedirs(there.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), there)
        self._files.put_file(str(sidecar), self._there(sidecar))


def open_store(state: State, shared: str | None) -> Store:
    """The store of a run."""
    if shared is None:
        return Store(state.store)
    if "://" not in shared:
        return Store(Path(shared).expanduser().absolute())
    return SharedStore(state.root / "shared" / digest_json(shared)[:16], shared)


def common_config(bench: "Workbench | CompareBench", shared: str | None) -> dict[str, Any]:
    """What other processes need to open a workbench like this one, as plain JSON."""
    import torch

    return {
        "root": str(bench.state.root),
        "model": bench.model_ref,
        "model_digest": bench.loaded.source.digest,
        "seed": bench.seed,
        "dtype": bench.dtype,
        "shared": shared,
        # Only if it was named; else each machine computes on what it has.
        "device": os.environ.get(DEVICE_VARIABLE),
        # Sums depend on the number of threads that share them; the same number, the same figures.
        "threads": torch.get_num_threads(),
        "computed_by": computed_by(),
    }
