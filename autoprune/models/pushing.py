"""Send a saved model to a hub; nothing is sent unless this is called."""

from pathlib import Path

from huggingface_hub import HfApi, get_token, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from autoprune.errors import AutopruneError, PrerequisiteError, UsageError, reason_of


def check_push(repo: str) -> None:
    """Refuse what could not be sent, before anything is computed for it.

    Args:
        repo: ``OWNER/NAME``.

    Raises:
        UsageError: If that is no name of a repository.
        PrerequisiteError: If there is no token, or the hub is switched off.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(
            f"{repo!r} is no name of a repository ({reason_of(error)}); write OWNER/NAME"
        ) from error
    if is_offline_mode():
        raise PrerequisiteError(
            "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing can be sent; unset it"
        )
    if get_token() is None:
        raise PrerequisiteError(
            "there is no token of the hub on this machine, so nothing can be sent; run `hf auth "
            "login`, or set HF_TOKEN to one that may write"
        )


def push_to_hub(repo: str, what: Path, *, endpoint: str | None = None) -> str:
    """Send a folder with all of its files, or one file.

    A repository that does not exist is made, and is private.

    Args:
        repo: ``OWNER/NAME``.
        what: A saved model's folder, or a file.
        endpoint: Address of the hub; None: the one that ``HF_ENDPOINT`` names, else the usual.

    Returns:
        Address of the commit.

    Raises:
        UsageError: If ``repo`` is no name of a repository.
        PrerequisiteError: If there is no token, or the hub is switched off.
        AutopruneError: If the hub does not answer or refuses.
    """
    check_push(repo)
    api = HfApi(endpoint=endpoint, library_name="autoprune")
    was_quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        message = f"Add {what.name}"
        if what.is_dir():
            made = api.upload_folder(repo_id=repo, folder_path=what, commit_message=message)
        else:
            made = api.upload_file(
                repo_id=repo, path_or_fileobj=what, path_in_repo=what.name, commit_message=message
            )
    except Exception as error:
        raise AutopruneError(
            f"{what} was not sent to {repo} ({type(error).__name__}: {reason_of(error)}); what is "
            "on this disk is whole: run the command again when the hub answers"
        ) from error
    finally:
        if not was_quiet:
            enable_progress_bars()
    return str(made.commit_url)
