"""Images into a registry, by version; deployed by the digest that comes back."""

from dataclasses import dataclass

from dagger import dag

from ci.stages.build import Built


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to push to a registry: its host, and a user with a password that nobody sees."""

    host: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(host={self.host!r}, username={self.username!r}, password='***')"


async def publish(built: Built, repository: str, login: Login) -> str:
    """Push one image under its content version; return `host/repository@sha256:...`."""
    secret = dag.set_secret("registry-password", login.password)
    address = f"{login.host}/{repository}:{built.version}"
    pushed = await built.container.with_registry_auth(login.host, login.username, secret).publish(
        address
    )
    return f"{login.host}/{repository}@{digest(pushed)}"


def digest(reference: str) -> str:
    """Return the `sha256:...` of a reference; raises `ValueError` where it has none."""
    _, at, found = reference.partition("@")
    if not at or not found.startswith("sha256:"):
        message = f"{reference!r} names no digest"
        raise ValueError(message)
    return found
