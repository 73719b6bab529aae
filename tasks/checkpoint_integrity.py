"""Whether the files of a registered model are those that were saved."""

from pathlib import Path

from autoprune.digest import verify_file
from autoprune.errors import AutopruneError, reason_of
from autoprune.models.reference import RECORD_FILE
from tasks.recorded import task_run
from tasks.run_files import read_object


@task_run("check champion", "files of {name} version {version}")
def check_champion_files(name: str, version: str, folder: Path) -> None:
    """Refuse to judge by a champion whose files are not those that were registered.

    Raises:
        AutopruneError: If a file is missing or differs.
    """
    try:
        verify_files(folder)
    except AutopruneError as error:
        raise AutopruneError(
            f"the champion, {name} version {version}, cannot be judged by: {reason_of(error)}; go "
            f"back to the version before it (`autoprune promote --name {name} --rollback`), or "
            "register its folder again"
        ) from error


def verify_files(folder: Path) -> None:
    """Check a saved model's files against the digests in its record; without a record, nothing.

    Raises:
        AutopruneError: If a file is missing or differs.
    """
    if not (folder / RECORD_FILE).is_file():
        return
    files = read_object(folder / RECORD_FILE).get("checkpoint", {}).get("files", {})
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise AutopruneError(f"{name} is missing")
        verify_file(folder / name, digest)
