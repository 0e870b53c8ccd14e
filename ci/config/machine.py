"""Where this machine's embedded AWS is recorded, for programs that only use it.

`ci.local` starts and stops it and writes the record; `python -m validation --aws local` reads it.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ci.errors import HostError, UsageError

#: An instance's name is part of labels, container names and folder names.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Address:
    """The addresses of an embedded AWS, as this machine reaches it."""

    port: int

    @property
    def endpoint(self) -> str:
        """The URL of its API, for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """The host of its container registry; Docker accepts localhost without TLS."""
        return f"localhost:{self.port}"

    @property
    def load_balancer(self) -> str:
        """The URL pattern of its load balancers."""
        return f"{self.endpoint}/_alb/{{name}}"


def instance() -> str:
    """Return the name of the current instance.

    Raises:
        UsageError: ACSO_INSTANCE is not a valid name.
    """
    name = os.environ.get("ACSO_INSTANCE") or "default"
    if not _NAME.fullmatch(name):
        message = f"ACSO_INSTANCE={name!r} is not a valid name"
        raise UsageError(message, hint="use at most 40 lower case letters, digits and dashes")
    return name


def state_home() -> Path:
    """Return the folder of the state of all instances; it may not exist."""
    import platformdirs  # late: the Dagger module does without

    return Path(platformdirs.user_state_path("acso"))


def embedded_aws_record() -> Path:
    """Return the file that says where this instance's embedded AWS is: JSON with its `port`."""
    return state_home() / instance() / "aws.json"


def embedded_aws() -> Address:
    """Return the addresses of this instance's embedded AWS.

    Raises:
        HostError: it was never started, or has been removed.
    """
    try:
        return Address(int(json.loads(embedded_aws_record().read_text())["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        message = "there is no embedded AWS on this machine"
        raise HostError(message, hint="./acso up, or ./acso deploy --env development") from None
