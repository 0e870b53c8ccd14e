"""A copy of the repository, in which tests run `acso` as a user does."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.json_documents import DOCUMENT

PATIENCE = 1200  # seconds a command may take: the first deploy of a loaded machine, nothing cached


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended: exit code, standard output and error, seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document of a command run with --json."""
        found: dict[str, Any] = json.loads(self.out)
        DOCUMENT.validate(found)
        return found


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A copy of the repository, the instance that its commands use, and who runs them."""

    root: Path
    instance: str
    #: How a command of another user begins, and that user's variables.
    user: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its commands."""
        # Plain text, even if this suite itself runs in a job of GitHub Actions.
        overrides = {"ACSO_INSTANCE": self.instance, "NO_COLOR": "1", "GITHUB_ACTIONS": "false"}
        return {**os.environ, **overrides, **self.variables}

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [*self.user, self.root / "acso", *arguments],
            cwd="/",  # `acso` works from any folder
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def acso(self, *arguments: str, **environ: str) -> Done:
        """Run a command to its end."""
        began = time.monotonic()
        process = self.start(*arguments, **environ)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except BaseException:  # it took too long, or the tests are being stopped
            os.killpg(process.pid, signal.SIGKILL)
            raise
        seconds = time.monotonic() - began
        return Done(code=process.returncode, out=out, err=err, seconds=seconds)

    def deploy(self) -> Done:
        """Deploy development."""
        return self.acso("deploy", "--env", "development", "--json")

    def status(self) -> dict[str, Any]:
        """Return what runs, by agent."""
        done = self.acso("status", "--env", "development", "--json")
        assert done.code == 0, done.err
        services = done.document["result"]["services"]
        return {item["agent"]: item for item in services}

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Change a file of the checkout."""
        file = self.root / path
        file.write_text(change(file.read_text()))


def health(url: str) -> dict[str, Any]:
    """Return what an agent's health check answers."""
    with urllib.request.urlopen(url + "/health", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
