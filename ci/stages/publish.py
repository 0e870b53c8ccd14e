"""Images into a registry, by version; deployed by the digest that comes back."""

from dataclasses import dataclass

import dagger

from ci.stages.build import Built


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where images go, and as whom."""

    host: str
    username: str
    password: dagger.Secret


async def publish(built: Built, repository: str, registry: Registry) -> str:
    """Push one image under its content version; return `host/repository@sha256:...`."""
    pushed = await built.container.with_registry_auth(
        registry.host, registry.username, registry.password
    ).publish(f"{registry.host}/{repository}:{built.version}")
    return f"{registry.host}/{repository}@{digest(pushed)}"


def digest(reference: str) -> str:
    """Return the `sha256:...` of a reference; raises `ValueError` where it has none."""
    _, at, found = reference.partition("@")
    if not at or not found.startswith("sha256:"):
        message = f"{reference!r} names no digest"
        raise ValueError(message)
    return found
