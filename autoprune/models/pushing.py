"""Send a saved model to a hub; nothing is sent unless this module is called."""

import shlex
from pathlib import Path

from huggingface_hub import HfApi, get_token, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from autoprune.checkpoint.card import DENSE_CARD
from autoprune.checkpoint.compact import RECORD
from autoprune.errors import AutopruneError, PrerequisiteError, UsageError, reason_of
from autoprune.models.record import RECORD_FILE
from autoprune.plain_text import shell_line

# What another model in the repository left: readers would take its one file before an index of
# several, its text for this model's, or its chat template and words. What is sent is never deleted.
_OF_ONE_MODEL = [
    "model*.safetensors",
    "model*.safetensors.index.json",
    "pytorch_model*",
    "seen_text.npz",
    RECORD,
    DENSE_CARD,
    "program.py",
    RECORD_FILE,
    "generation_config.json",
    "chat_template*",
    "additional_chat_templates/*",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "*processor_config.json",
]


def check_push(repo: str, *, endpoint: str | None = None) -> None:
    """Check with the hub that a push can work, before anything is computed for it."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(
            f"{repo!r} is not a repository's name ({reason_of(error)}); write OWNER/NAME"
        ) from error
    if "/" not in repo:
        # The hub would make it under the token's owner and then upload to another one.
        raise UsageError(f"{repo!r} does not say whose repository it is; write OWNER/NAME")
    if is_offline_mode():
        raise PrerequisiteError(
            "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing can be sent; unset it"
        )
    if get_token() is None:
        raise PrerequisiteError(
            "there is no token of the hub on this machine, so nothing can be sent; run `hf auth "
            "login`, or set HF_TOKEN to one that may write"
        )
    try:
        known = HfApi(endpoint=endpoint, library_name="autoprune").whoami()
    except Exception as error:
        raise PrerequisiteError(
            f"the hub does not accept the token of this machine, or cannot be reached "
            f"({reason_of(error, named=True)}), so nothing could be sent to {repo}; "
            "see `hf auth whoami` and HF_ENDPOINT, or leave out --push-to-hub and send the folder "
            f"later with `autoprune export FOLDER --push-to-hub {repo}`"
        ) from error
    if known.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PrerequisiteError(
            f"the token of {known.get('name', 'this machine')} may only read, so nothing could be "
            f"sent to {repo}; set HF_TOKEN to one that may write"
        )


def push_to_hub(repo: str, what: Path, *, private: bool = True, endpoint: str | None = None) -> str:
    """Send one file, or a folder with all of its files, including the model card.

    A folder takes the place of the model that is in the repository; other files, such as GGUF
    files, stay.
    """
    check_push(repo, endpoint=endpoint)
    api = HfApi(endpoint=endpoint, library_name="autoprune")
    was_quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        message = f"Add {what.name}"
        if what.is_dir():
            made = api.upload_folder(
                repo_id=repo,
                folder_path=what,
                commit_message=message,
                delete_patterns=_OF_ONE_MODEL,
            )
        else:
            made = api.upload_file(
                repo_id=repo, path_or_fileobj=what, path_in_repo=what.name, commit_message=message
            )
    except Exception as error:
        raise AutopruneError(
            f"{what} was not sent to {repo} ({reason_of(error, named=True)}); what is on this "
            f"disk is complete: when the hub answers, run `{_again(repo, what, private)}`"
        ) from error
    finally:
        if not was_quiet:
            enable_progress_bars()
    return str(made.commit_url)


def _again(repo: str, what: Path, private: bool) -> str:
    """The command that sends what is there already, without making it again."""
    if what.is_dir():
        more = () if private else ("--no-private",)
        return shell_line("export", what, "--push-to-hub", repo, *more)
    more = ("--private",) if private else ()
    return shlex.join(["hf", "upload", repo, str(what), what.name, *more])
