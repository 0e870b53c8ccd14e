"""Check whether this machine has what a deployment needs; change nothing."""

from ci.local import base_image
from ci.local.doctor import host, local_stack
from ci.local.doctor.findings import Finding

__all__ = ["Finding", "doctor"]


async def doctor(*, base: str = base_image.NAME) -> list[Finding]:
    """Return the state of everything that a deployment needs on this machine.

    Args:
        base: name of the base image, as acso.toml has it.
    """
    return [*host.findings(), *await local_stack.findings(base)]
