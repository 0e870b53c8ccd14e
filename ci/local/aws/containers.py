"""What a task definition says of a container reaches the container.

Source of the rules: ECS API Reference, ContainerDefinition; ECS Developer Guide, "Task definition
parameters".
"""

import contextvars
from collections.abc import Callable
from typing import Any

from ci.local import paths
from ci.local.aws.hook import replace, require

#: Seconds between SIGTERM and SIGKILL where the definition does not say ("the default is 30").
STOP_TIMEOUT = 30
STOP_LABEL = "acso.stop-timeout"
_decrypting: contextvars.ContextVar[bool] = contextvars.ContextVar("decrypting", default=False)


def apply(ecs: Any, ssm: Any, registry: str) -> None:
    """Correct how containers are started.

    Args:
        ecs: ministack's module.
        ssm: ministack's module.
        registry: the address under which its registry really answers.
    """
    require(ecs, "_image_repository")
    replace(ecs, "_build_run_kwargs", shaped)
    replace(ecs, "_start_task_worker", lambda original: pulling_from(registry, original))
    replace(ecs, "_register_metadata", with_keys)
    replace(ecs, "_remove_docker_container", patient)
    replace(ecs, "_resolve_container_secrets", decrypting)
    replace(ssm, "resolve_parameter_value", decrypted)


def shaped(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Start containers with entry point, user, folder, limits and the rest of their definition."""

    def build(cdef: dict[str, Any], td: dict[str, Any], *rest: Any) -> dict[str, Any]:
        arguments = original(cdef, td, *rest)
        arguments |= shape(cdef, td)
        arguments["labels"] |= {STOP_LABEL: str(cdef.get("stopTimeout") or STOP_TIMEOUT)}
        arguments["mounts"] = [_volume(path) for path in own_volumes(cdef, td)]
        return arguments

    return build


def shape(cdef: dict[str, Any], td: dict[str, Any]) -> dict[str, Any]:
    """Return what a definition says as arguments of Docker's `run`.

    A task's memory is the limit of its container where that has none of its own. CPU units are
    shares: on Fargate they are a hard limit, which on a small machine would only slow every start.
    """
    linux = cdef.get("linuxParameters") or {}
    memory = int(cdef.get("memory") or td.get("memory") or 0)
    cpu = int(cdef.get("cpu") or td.get("cpu") or 0)
    found: dict[str, Any] = {
        "entrypoint": cdef.get("entryPoint"),
        "user": cdef.get("user"),
        "working_dir": cdef.get("workingDirectory"),
        "hostname": cdef.get("hostname"),
        "read_only": cdef.get("readonlyRootFilesystem"),
        "mem_limit": f"{memory}m" if memory else None,
        "memswap_limit": f"{memory}m" if memory else None,  # no swap, as on Fargate
        "mem_reservation": f"{cdef['memoryReservation']}m"
        if cdef.get("memoryReservation")
        else None,
        "cpu_shares": max(2, cpu) if cpu else None,
        "init": linux.get("initProcessEnabled"),
        "cap_drop": (linux.get("capabilities") or {}).get("drop"),
        "tmpfs": {
            item["containerPath"]: ",".join(
                [f"size={item['size']}m", *item.get("mountOptions", [])]
            )
            for item in linux.get("tmpfs") or []
        },
        "ulimits": _ulimits(cdef.get("ulimits") or []),
    }
    return {name: value for name, value in found.items() if value}


def own_volumes(cdef: dict[str, Any], td: dict[str, Any]) -> list[str]:
    """Return the paths of a container's mounts that are on no folder of the host.

    Such a volume is empty at the task's start and lives as long as the task. One that several
    containers of a task mount is not shared here.
    """
    on_host = {
        item.get("name")
        for item in td.get("volumes") or []
        if (item.get("host") or {}).get("sourcePath")
    }
    return [
        item["containerPath"]
        for item in cdef.get("mountPoints") or []
        if item.get("sourceVolume") not in on_host
    ]


def pulling_from(registry: str, original: Callable[..., None]) -> Callable[..., None]:
    """Pull from where the registry really answers, whatever name a definition gives it.

    `repositoryUri` is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME, as on AWS.
    """

    def start(task: Any, td: dict[str, Any], *rest: Any) -> None:
        for cdef in td.get("containerDefinitions", []):
            cdef["image"] = local_image(cdef["image"], registry)
        original(task, td, *rest)

    return start


def local_image(image: str, registry: str) -> str:
    """Return an image's name with the registry of an AWS account replaced by the local one."""
    host, slash, name = image.partition("/")
    is_ecr = ".dkr.ecr." in host and host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return f"{registry}/{name}" if slash and is_ecr else image


def with_keys(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give a task credentials that every SDK takes.

    On AWS the task's role is offered at a link-local address. Here it would be at this machine's,
    which SDKs refuse ("can only retrieve metadata from a loopback address"), so it is keys.
    """

    def register(*arguments: Any) -> Any:
        token = original(*arguments)
        env = arguments[5]
        env.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI", None)
        env.pop("AWS_CONTAINER_AUTHORIZATION_TOKEN", None)
        env.setdefault("AWS_ACCESS_KEY_ID", "test")
        env.setdefault("AWS_SECRET_ACCESS_KEY", "test")
        return token

    return register


def patient(original: Callable[..., None]) -> Callable[..., None]:
    """Give a container the time to stop that its definition gives it."""

    def remove(client: Any, container: Any) -> None:
        from docker.errors import DockerException, NotFound

        try:
            found = client.containers.get(container) if isinstance(container, str) else container
            found.stop(timeout=int(found.labels.get(STOP_LABEL, STOP_TIMEOUT)))
        except NotFound:
            return
        except (DockerException, AttributeError, OSError):
            pass  # the original tries again, harder
        original(client, container)

    return remove


def decrypting(original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    """Give a task the plain value of a SecureString that its `secrets` name, as the agent does."""

    def resolve(cdef: dict[str, Any]) -> dict[str, str]:
        token = _decrypting.set(True)
        try:
            return original(cdef)
        finally:
            _decrypting.reset(token)

    return resolve


def decrypted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read a parameter decrypted where it is read for a task's secrets."""

    def resolve(name: str, version: Any = None, decrypt: bool = False) -> Any:
        return original(name, version, decrypt or _decrypting.get())

    return resolve


def _volume(path: str) -> Any:
    import os

    from docker.types import Mount

    labels = {paths.INSTANCE_LABEL: os.environ["ACSO_INSTANCE"]}
    return Mount(target=path, source=None, type="volume", labels=labels)


def _ulimits(items: list[dict[str, Any]]) -> list[Any]:
    from docker.types import Ulimit

    return [
        Ulimit(name=item["name"], soft=int(item["softLimit"]), hard=int(item["hardLimit"]))
        for item in items
    ]
