"""Environment variables of child processes: each gets only the ones that it needs.

This is an allow-list: a key exported for another program reaches no server, and the
designer's key reaches only the worker, whose runs use it.
"""

from collections.abc import Mapping

from autoprune.errors import UsageError
from flows.contention import PASSIVE

# Comma-separated names of further variables for the worker, such as logins named in addresses.
WORKER_VARIABLE = "AUTOPRUNE_WORKER_ENV"
_SYSTEM = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TMP",
        "TEMP",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "VIRTUAL_ENV",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DO_NOT_TRACK",
        "NO_COLOR",
    ]
)
_LOCALE = ("LC_",)
# Only clients of other servers need these; the login at our own is passed separately.
_CLIENTS = frozenset(
    [
        "PREFECT_API_URL",
        "PREFECT_API_KEY",
        "PREFECT_API_AUTH_STRING",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    ]
)
_RUNS = frozenset(
    [
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        # The ledger of sealed looks is here unless AUTOPRUNE_LEDGER is set.
        "XDG_STATE_HOME",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "TORCH_HOME",
    ]
)
# Prefixes: ours, the designer's endpoint, the hub, fsspec's stores, accelerators, runners.
_RUNS_PREFIXES = (
    "PREFECT_", "MLFLOW_", "AUTOPRUNE_", "OPENAI_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_",
    "TRANSFORMERS_", "TOKENIZERS_", "AWS_", "AZURE_", "GOOGLE_", "FSSPEC_", "TORCH_", "PYTORCH_",
    "TORCHINDUCTOR_", "CUDA_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "HSA_", "OMP_", "GOMP_",
    "KMP_", "MKL_", "OPENBLAS_", "DNNL_", "ONEDNN_", "DOCKER_", "DASK_",
)  # fmt: skip


def prefect_server_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a Prefect server: the system's and Prefect's own."""
    return _without_clients(_chosen(given, _SYSTEM, (*_LOCALE, "PREFECT_")))


def mlflow_server_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an MLflow server: the system's and MLflow's own."""
    return _without_clients(_chosen(given, _SYSTEM, (*_LOCALE, "MLFLOW_", "OMP_")))


def client_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a Prefect command that uses a server: the system's and Prefect's."""
    return _chosen(given, _SYSTEM | _RUNS, (*_LOCALE, "PREFECT_"))


def worker_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the worker and its runs."""
    more = [name.strip() for name in given.get(WORKER_VARIABLE, "").split(",") if name.strip()]
    for name in more:
        if name not in given:
            raise UsageError(
                f"{WORKER_VARIABLE} names {name!r}, which is not set; set it, or take it out"
            )
    chosen = _chosen(given, _SYSTEM | _RUNS | set(more), (*_LOCALE, *_RUNS_PREFIXES))
    # Several runs share the processors, so waiting threads must not spin.
    return PASSIVE | chosen


def safe_path() -> dict[str, str]:
    """Return what keeps the current folder off the import path, in the child's children too."""
    return {"PYTHONSAFEPATH": "1"}


def _chosen(
    given: Mapping[str, str], names: frozenset[str] | set[str], prefixes: tuple[str, ...]
) -> dict[str, str]:
    chosen = {n: value for n, value in given.items() if n in names or n.startswith(prefixes)}
    return chosen | safe_path()


def _without_clients(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _CLIENTS}
