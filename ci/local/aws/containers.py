"""Start containers as their task definition says.

Source of the rules: ECS API Reference, ContainerDefinition; ECS Developer Guide, "Task definition
parameters".
"""

import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any

from ci.local.aws import ownership
from ci.local.aws.patching import replace, require

#: Seconds between SIGTERM and SIGKILL if the definition has no stopTimeout ("the default is 30").
STOP_TIMEOUT = 30
STOP_LABEL = "acso.stop-timeout"
_decrypting: contextvars.ContextVar[bool] = contextvars.ContextVar("decrypting", default=False)


def apply(ecs: Any, ssm: Any, registry: str) -> None:
    """Correct how containers are started and stopped.

    Args:
        ecs: ministack's module.
        ssm: ministack's module.
        registry: the host of the registry, as Docker reaches it.
    """
    require(ecs, "_image_repository")
    replace(ecs, "_build_run_kwargs", with_run_options)
    replace(ecs, "_start_task_worker", partial(with_local_registry, registry))
    replace(ecs, "_register_metadata", with_static_credentials)
    replace(ecs, "_remove_docker_container", with_stop_timeout)
    replace(ecs, "_resolve_container_secrets", with_decrypted_secrets)
    replace(ssm, "resolve_parameter_value", with_decryption_for_tasks)


def with_run_options(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Add the options that the definition sets: entry point, user, folder, limits, volumes, ..."""

    def build(cdef: dict[str, Any], td: dict[str, Any], *rest: Any) -> dict[str, Any]:
        arguments = original(cdef, td, *rest)
        arguments |= run_options(cdef, td)
        arguments["labels"] |= {STOP_LABEL: str(cdef.get("stopTimeout") or STOP_TIMEOUT)}
        arguments["mounts"] = [_volume(path) for path in task_volumes(cdef, td)]
        return arguments

    return build


def run_options(cdef: dict[str, Any], td: dict[str, Any]) -> dict[str, Any]:
    """Return a container definition as arguments of Docker's `run`.

    A container without a memory limit gets that of its task. CPU units become shares; on Fargate
    they are a hard limit, which would make every start slow on a small machine.
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


def task_volumes(cdef: dict[str, Any], td: dict[str, Any]) -> list[str]:
    """Return the mount points of a container whose volume is not a folder of the host.

    Such a volume is empty when the task starts and is removed with the task. Difference to AWS:
    containers of one task do not share it.
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


def with_local_registry(registry: str, original: Callable[..., None]) -> Callable[..., None]:
    """Pull images from the local registry if the definition names the registry of an AWS account.

    As on AWS, `repositoryUri` is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME.
    """

    def start(task: Any, td: dict[str, Any], *rest: Any) -> None:
        for cdef in td.get("containerDefinitions", []):
            cdef["image"] = local_image(cdef["image"], registry)
        original(task, td, *rest)

    return start


def local_image(image: str, registry: str) -> str:
    """Return an image's name; the registry of an AWS account is replaced by the local one."""
    host, slash, name = image.partition("/")
    is_ecr = ".dkr.ecr." in host and host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return f"{registry}/{name}" if slash and is_ecr else image


def with_static_credentials(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give a task static access keys instead of the credentials of its role.

    On AWS, SDKs get the role's credentials from a link-local address. Here they would have to use
    an address of this machine, which SDKs refuse ("can only retrieve metadata from a loopback
    address").
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


def with_stop_timeout(original: Callable[..., None]) -> Callable[..., None]:
    """Give a container its definition's `stopTimeout` before it is killed."""

    def remove(client: Any, container: Any) -> None:
        from docker.errors import DockerException, NotFound

        try:
            found = client.containers.get(container) if isinstance(container, str) else container
            found.stop(timeout=int(found.labels.get(STOP_LABEL, STOP_TIMEOUT)))
        except NotFound:
            return
        except (DockerException, AttributeError, OSError):
            pass  # the original kills it
        original(client, container)

    return remove


def with_decrypted_secrets(
    original: Callable[..., dict[str, str]],
) -> Callable[..., dict[str, str]]:
    """Decrypt SecureString parameters that a task's `secrets` name, as the ECS agent does."""

    def resolve(cdef: dict[str, Any]) -> dict[str, str]:
        token = _decrypting.set(True)
        try:
            return original(cdef)
        finally:
            _decrypting.reset(token)

    return resolve


def with_decryption_for_tasks(original: Callable[..., Any]) -> Callable[..., Any]:
    """Decrypt a parameter if it is read for a task's `secrets`."""

    def resolve(name: str, version: Any = None, decrypt: bool = False) -> Any:
        return original(name, version, decrypt or _decrypting.get())

    return resolve


def _volume(path: str) -> Any:
    from docker.types import Mount

    return Mount(target=path, source=None, type="volume", labels=ownership.labels())


def _ulimits(items: list[dict[str, Any]]) -> list[Any]:
    from docker.types import Ulimit

    return [
        Ulimit(name=item["name"], soft=int(item["softLimit"]), hard=int(item["hardLimit"]))
        for item in items
    ]
