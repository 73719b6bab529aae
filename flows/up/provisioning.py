"""What the Prefect server needs before a run: pool, limits, zombie rule, deployments."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import UUID

from autoprune.digest import digest_file, digest_json
from autoprune.errors import AutopruneError, PrerequisiteError
from flows.nightly.nights import Night, scheduled, with_night
from flows.platform.environment import client_environment
from flows.platform.login import AUTH_VARIABLE
from flows.platform.pools import POOL, deployment_name, prepare_pool
from tasks.state import without_login

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Runs of one machine share its memory and processors, so stages take turns.
LIMITS = {"gpu": 1, "llm": 4, "cpu": 1}
ZOMBIE_RULE = "autoprune-zombies"
ZOMBIE_SECONDS = 150
DEPLOYED = "autoprune_deployed"
DEPLOY_SECONDS = 180.0
ROOT = Path(__file__).parents[2]


def _forms() -> dict[str, str]:
    """Digests of the sources that forms are made from: after an upgrade they are deployed again."""
    files = [*(ROOT / "flows").glob("*/params.py"), *(ROOT / "flows" / "params").glob("*.py")]
    files.append(ROOT / "autoprune" / "search_settings.py")
    return {str(file.relative_to(ROOT)): digest_file(file) for file in sorted(files)}


@contextmanager
def client_of(api: str, login: str = "") -> "Iterator[SyncPrefectClient]":
    """Open a client of the API at this address, whatever this process used before."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    settings = {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: login} if login else {})
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client


def prepare_server(api: str, pool: str = POOL, login: str = "") -> list[str]:
    """Create what is missing; what a user changed stays changed.

    Relative paths in a form refer to the folder in which the worker was started, so machines with
    different folders may share a server.
    """
    with client_of(api, login) as client:
        made = [prepare_pool(client, pool)]
        made += [f"concurrency limit {n}" for n, size in LIMITS.items() if _limit(client, n, size)]
        if _zombie_rule(client):
            made.append("zombie automation")
    return [name for name in made if name]


def _limit(client: "SyncPrefectClient", name: str, limit: int) -> bool:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
        return True
    return False


def _zombie_rule(client: "SyncPrefectClient") -> bool:
    """Create the rule that crashes silent runs; without it a killed run stays Running for ever."""
    if client.read_automations_by_name(ZOMBIE_RULE):
        return False
    from prefect.automations import AutomationCore, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    beat = "prefect.flow-run.heartbeat"
    ends = ("Completed", "Failed", "Cancelled", "Crashed")
    trigger = EventTrigger(
        after={beat},
        expect={beat, *(f"prefect.flow-run.{state}" for state in ends)},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=ZOMBIE_SECONDS),
    )
    crash = ChangeFlowRunState(
        name="Crashed",
        state=StateType.CRASHED,
        force=False,
        message=(
            f"no sign of life for {ZOMBIE_SECONDS} s: its process was killed or its machine is "
            "gone; press Retry here or run `autoprune resume` (a night: with --submit), finished "
            "work is not done again"
        ),
    )
    client.create_automation(
        AutomationCore(
            name=ZOMBIE_RULE,
            description="Mark runs whose heartbeat stopped as crashed, so that they can be retried",
            enabled=True,
            trigger=trigger,
            actions=[crash],
        )
    )
    return True


def deployments_file() -> Path:
    """``prefect.yaml``: next to the packages in a checkout, inside them in a wheel."""
    package = Path(__file__).parent.parent
    for place in (package.parent / "prefect.yaml", package / "prefect.yaml"):
        if place.is_file():
            return place
    raise PrerequisiteError(
        f"prefect.yaml is missing next to {package}; reinstall AutoPrune or run from its checkout"
    )


def deployments_text(pool: str) -> str:
    """Return ``prefect.yaml`` for a pool: unchanged, or with the pool's own names."""
    text = deployments_file().read_text(encoding="utf-8")
    if pool == POOL:
        return text
    import yaml

    config = yaml.safe_load(text)
    del config["definitions"]
    for deployment in config["deployments"]:
        deployment["name"] = deployment_name(deployment["name"], pool)
        deployment["work_pool"] = deployment["work_pool"] | {"name": pool}
    return str(yaml.safe_dump(config, sort_keys=False))


def deploy_all(
    api: str,
    pool: str = POOL,
    login: str = "",
    night: Night | None = None,
    *,
    asked: bool = True,
) -> tuple[int, bool, Night | None]:
    """Deploy every flow of ``prefect.yaml`` unless the server already has this exact file."""
    with client_of(api, login) as client:
        found = client.read_variable_by_name(_deployed_variable(pool))
        # Earlier versions kept the digest alone.
        known = found.value if found is not None and isinstance(found.value, dict) else {}
        if not asked and "night" in known:
            night = None if known["night"] is None else Night(**known["night"])
        text = with_night(deployments_text(pool), night)
        digest = digest_json({"file": text, "forms": _forms()})[:16]
        listed = _listed(text)
        count = len(listed)
        if known.get("digest") == digest and listed <= _ours(client, pool).keys():
            return count, False, night
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(text, encoding="utf-8")
        _deploy(api, file, login)
    with client_of(api, login) as client:
        body = {"digest": digest, "night": None if night is None else night.to_json()}
        _remember(client, _deployed_variable(pool), body)
    return count, True, night


def delete_gone(api: str, pool: str = POOL, login: str = "") -> list[str]:
    """Delete deployments of this pool whose flow an earlier version had and this one has not.

    Of the flows that it has, all stay: the UI's Duplicate keeps the tag by which ours are known.
    """
    flows = {flow for flow, _ in _listed(deployments_text(pool))}
    gone = []
    with client_of(api, login) as client:
        for (flow, name), number in _ours(client, pool).items():
            if flow not in flows:
                client.delete_deployment(number)
                gone.append(f"{flow}/{name}")
    return sorted(gone)


def _listed(text: str) -> set[tuple[str, str]]:
    """Return flow and name of the deployments of a ``prefect.yaml``."""
    import yaml

    listed = yaml.safe_load(text)["deployments"]
    return {(one["entrypoint"].rpartition(".")[2], one["name"]) for one in listed}


def _deploy(api: str, file: Path, login: str) -> None:
    command = (sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all")
    given = deployments_file()
    environment = client_environment(os.environ) | {
        "PREFECT_API_URL": api,
        "NO_COLOR": "1",
        "PREFECT_CLI_WRAP_LINES": "0",
    }
    if login:
        environment[AUTH_VARIABLE] = login
    try:
        done = subprocess.run(
            (*command, "--prefect-file", str(file)),
            env=environment,
            cwd=given.parent,
            capture_output=True,
            text=True,
            timeout=DEPLOY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteError(
            f"`prefect deploy --all` did not finish within {DEPLOY_SECONDS:.0f} s at "
            f"{without_login(api)}; check that the machine and the server are not overloaded, then "
            "run `autoprune up` again"
        ) from error
    if done.returncode != 0:
        output = " ".join((done.stderr or done.stdout).split())[-600:]
        raise AutopruneError(
            f"`prefect deploy --all` ended with {done.returncode}: {output}; correct {given} and "
            "run `autoprune up` again"
        )


def nightly_text(api: str, pool: str, login: str) -> str:
    """Describe what the server will do every night."""
    with client_of(api, login) as client:
        return scheduled(client, pool)


def _deployed_variable(pool: str) -> str:
    return DEPLOYED if pool == POOL else f"{DEPLOYED}_{pool.replace('-', '_')}"


def _ours(client: "SyncPrefectClient", pool: str) -> dict[tuple[str, str], UUID]:
    """Return the ids of what has our tag in a pool, copies by users included, by flow and name."""
    return {
        (client.read_flow(one.flow_id).name, one.name): one.id
        for one in client.read_deployments(limit=200)
        if "autoprune" in one.tags and one.work_pool_name == pool
    }


def _remember(client: "SyncPrefectClient", variable: str, value: dict[str, Any]) -> None:
    from prefect.client.schemas.actions import VariableCreate, VariableUpdate

    if client.read_variable_by_name(variable) is None:
        client.create_variable(VariableCreate(name=variable, value=value, tags=["autoprune"]))
    else:
        client.update_variable(VariableUpdate(name=variable, value=value))
