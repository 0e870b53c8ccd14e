"""The server process: apply settings and corrections, then serve ministack until SIGTERM."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ci.local.aws import (
    containers,
    listeners,
    log_pages,
    ownership,
    patching,
    ports,
    probes,
    properties,
    restrictions,
    scheduler,
    targets,
    task_health,
    tasks,
    templates,
)

#: The path at which the server identifies itself.
IDENTITY_PATH = "/_acso"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def environ(*, port: int, instance: str, state: str, docker: str | None) -> dict[str, str]:
    """Return the environment variables of the server, which ministack reads at import.

    Args:
        port: the port to listen on.
        instance: the instance's name; every container is labelled with it.
        state: the identity of the state folder, which is in the labels too.
        docker: the container engine's URL, None if DOCKER_HOST gives it.
    """
    settings = {
        "GATEWAY_PORT": str(port),
        # Part of ministack's label on containers: it removes those that have the same.
        "MINISTACK_HOSTNAME": f"acso-{instance}-{state}",
        "MINISTACK_REGION": "us-east-1",
        "MINISTACK_DOCKER_TIMEOUT": "60",  # seconds; a pull on a busy machine is slow
        "IOT_MTLS_ENABLED": "0",  # this would listen on all addresses
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "0",
        "SERVICES": ",".join(restrictions.SERVICES),
        "ACSO_INSTANCE": instance,
        "ACSO_STATE": state,
    }
    return settings | ({"DOCKER_HOST": docker} if docker else {})


async def run(*, port: int, addresses: Sequence[str], plain: bool) -> None:
    """Serve until SIGTERM; then the containers of its tasks are removed.

    Args:
        port: the port to listen on.
        addresses: the addresses to listen on; never all of the machine.
        plain: do not apply the corrections.
    """
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    ownership.apply()
    from ministack.services import ec2, ecs
    from ministack.services.cloudformation import provisioners

    restrictions.apply(ecs, ec2, provisioners)
    corrections = [] if plain else apply_corrections(f"localhost:{port}")
    from ministack.app import app

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"{address}:{port}" for address in addresses]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1  # seconds; idle connections of clients must not delay `down`
    config.loglevel = "WARNING"
    identity = {
        "instance": os.environ.get("ACSO_INSTANCE", ""),
        "pid": os.getpid(),
        "ministack": version("ministack"),
        "corrections": corrections,
    }
    served = restrictions.without_administration(with_identity(app, identity))
    await serve(served, config, shutdown_trigger=stop.wait)


def apply_corrections(registry: str) -> list[str]:
    """Apply every correction; return their names.

    Args:
        registry: the host of the server's registry, as Docker reaches it.

    Raises:
        IncompatibleError: ministack is not the release that they are written for.
    """
    patching.check_release()
    from ministack.services import alb, cloudwatch_logs, ec2, ecs, ssm
    from ministack.services.cloudformation import provisioners, stacks

    all_probes = probes.Probes()
    all_targets = targets.Targets(alb, all_probes)
    health = task_health.TaskHealth(ecs, all_probes, all_targets)
    services = scheduler.Scheduler(ecs, health)
    containers.apply(ecs, ssm, registry)
    targets.apply(all_targets, alb)
    listeners.apply(alb)
    ports.apply(ecs, alb)
    tasks.apply(ecs, ec2, all_targets)
    scheduler.apply(ecs, services)
    templates.apply(ecs, provisioners, stacks)
    properties.apply(provisioners)
    log_pages.apply(cloudwatch_logs)
    services.start()
    return [
        "containers",
        "log_pages",
        "targets",
        "listeners",
        "ports",
        "tasks",
        "scheduler",
        "templates",
        "properties",
    ]


def running_containers() -> list[str]:
    """Return the container ids of all tasks that are RUNNING."""
    from ministack.services import ecs

    tasks = [task for _, task in ecs._tasks.all_items() if task.get("lastStatus") == "RUNNING"]
    return [name for task in tasks for name in task.get("_docker_ids") or []]


def with_identity(app: App, identity: Mapping[str, object]) -> App:
    """Return the application with a page that identifies the server."""

    async def wrapped(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != IDENTITY_PATH:
            await app(scope, receive, send)
            return
        body = json.dumps({**identity, "containers": running_containers()}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return wrapped
