"""Whether the files of a registered model are those that were saved."""

from pathlib import Path

from autoprune.errors import AutopruneError, reason_of
from autoprune.models.record import verify_files
from tasks.recorded import task_run


@task_run("check champion", "files of {name} version {version}")
def check_champion_files(name: str, version: str, folder: Path) -> None:
    """Refuse to judge by a champion whose files are not those that were registered."""
    try:
        verify_files(folder)
    except AutopruneError as error:
        raise AutopruneError(
            f"the champion, {name} version {version}, cannot be judged by: {reason_of(error)}; go "
            f"back to the version before it (`autoprune promote --name {name} --rollback`), or "
            "register its folder again"
        ) from error
