"""The server process: settings, corrections, then ministack's application until SIGTERM."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ci.local.aws import (
    containers,
    hook,
    ownership,
    probes,
    scheduler,
    targets,
    taskhealth,
    tasks,
    templates,
)

#: Where the server says who it is.
IDENTITY = "/_acso"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def environ(*, port: int, instance: str, docker: str | None) -> dict[str, str]:
    """Return the settings of the server as ministack reads them at import.

    Args:
        port: the one to listen on.
        instance: whose it is; every container carries it.
        docker: the container engine's URL, None for what DOCKER_HOST says.
    """
    settings = {
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOSTNAME": f"acso-{instance}",  # the label by which leftovers are found
        "MINISTACK_REGION": "us-east-1",
        "MINISTACK_DOCKER_TIMEOUT": "60",  # a pull on a busy machine
        "IOT_MTLS_ENABLED": "0",  # it would listen on every address
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "0",
        "ACSO_INSTANCE": instance,
    }
    return settings | ({"DOCKER_HOST": docker} if docker else {})


async def run(*, port: int, addresses: Sequence[str], plain: bool) -> None:
    """Serve until SIGTERM; the tasks' containers go with it.

    Args:
        port: to listen on.
        addresses: to listen on; never all of the machine's.
        plain: leave ministack as it is.
    """
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    ownership.apply()
    done = [] if plain else corrected(f"localhost:{port}")
    from ministack.app import app

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"{address}:{port}" for address in addresses]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1  # a client's idle connection does not hold up `down`
    config.loglevel = "WARNING"
    identity = {
        "instance": os.environ.get("ACSO_INSTANCE", ""),
        "pid": os.getpid(),
        "ministack": version("ministack"),
        "corrections": done,
    }
    await serve(introduced(app, identity), config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]


def corrected(registry: str) -> list[str]:
    """Apply every correction; return their names.

    Args:
        registry: the address under which the server's registry answers.

    Raises:
        GoneError: ministack is not the release that they were made for.
    """
    hook.check_release()
    from ministack.services import alb, ecs, ssm
    from ministack.services.cloudformation import provisioners, stacks

    looked_at = probes.Probes()
    balanced = targets.Targets(alb, looked_at)
    services = scheduler.Scheduler(ecs, taskhealth.TaskHealth(ecs, looked_at, balanced))
    containers.apply(ecs, ssm, registry)
    targets.apply(balanced, alb)
    tasks.apply(ecs, balanced)
    scheduler.apply(ecs, services)
    templates.apply(ecs, provisioners, stacks)
    services.start()
    return ["containers", "targets", "tasks", "scheduler", "templates"]


def running_containers() -> list[str]:
    """Return the containers of the tasks that ECS calls RUNNING."""
    from ministack.services import ecs

    tasks = [task for _, task in ecs._tasks.all_items() if task.get("lastStatus") == "RUNNING"]
    return [name for task in tasks for name in task.get("_docker_ids") or []]


def introduced(app: App, identity: Mapping[str, object]) -> App:
    """Return the application with a page that says who it is."""

    async def wrapped(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != IDENTITY:
            await app(scope, receive, send)
            return
        body = json.dumps({**identity, "containers": running_containers()}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return wrapped
