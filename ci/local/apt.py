"""Packages of Debian and Ubuntu."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
from anyio.streams.text import TextReceiveStream

from ci.errors import HostError

Say = Callable[[str], None]
#: Seconds without progress on a connection after which apt gives up on a mirror.
_TIMEOUT = 20


def usable_system() -> bool:
    """Whether this is Debian or a relative of it, with apt."""
    return bool({"debian", "ubuntu"} & system()) and shutil.which("apt-get") is not None


def system(release: Path = Path("/etc/os-release")) -> set[str]:
    """Return the names by which this system calls itself and its parents."""
    try:
        lines = release.read_text().splitlines()
    except OSError:
        return set()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    names = f"{found.get('ID', '')} {found.get('ID_LIKE', '')}"
    return set(names.replace('"', "").split())


async def install(packages: Sequence[str], say: Say, *, failure: type[HostError]) -> None:
    """Install packages; the lists are brought up to date first.

    Args:
        packages: their names.
        say: told the steps that apt reports.
        failure: the error to raise.

    Raises:
        HostError: of the kind asked for; apt's last lines are in its message.
    """
    names = " ".join(packages)
    options = [f"-oAcquire::http::Timeout={_TIMEOUT}", f"-oAcquire::https::Timeout={_TIMEOUT}"]
    for command in (
        ["apt-get", "update", *options],
        # With what they recommend: docker.io needs cgroupfs-mount where systemd is not.
        ["apt-get", "install", "--yes", *options, *packages],
    ):
        code, lines = await run(command, say)
        if code != 0:
            last = "\n".join(f"  {line}" for line in lines[-5:])
            message = f"apt could not install {names}:\n{last}"
            raise failure(
                message, hint=advice(lines) or f"apt-get update && apt-get install {names}"
            )


def advice(lines: Sequence[str]) -> str:
    """Return what to do about a failure that a tool's own lines explain, "" if they don't."""
    text = "\n".join(lines).lower()
    mirror = "the package mirror cannot be reached: look at the network and at http_proxy"
    known = {
        "no space left on device": "the disk is full: make room, then run the same command again",
        "could not resolve": mirror,
        "failed to fetch": mirror,
        "could not get lock": "another package manager is at work: wait for it to end",
    }
    return next((told for sign, told in known.items() if sign in text), "")


async def run(
    command: Sequence[str],
    say: Say,
    *,
    environ: dict[str, str] | None = None,
    keep: Sequence[int] = (),
) -> tuple[int, list[str]]:
    """Run a program; return its exit code and all its lines.

    Args:
        command: the program and its arguments.
        say: told the lines that show progress.
        environ: added to this process's.
        keep: descriptors that it inherits.
    """
    variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    lines: list[str] = []
    async with await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=variables | (environ or {}),
        pass_fds=keep,
    ) as child:
        if child.stdout is None:
            raise AssertionError
        rest = ""
        async for chunk in TextReceiveStream(child.stdout, errors="replace"):
            *whole, rest = (rest + chunk).split("\n")
            for line in whole:
                lines.append(line.rstrip())
                if shown(line):
                    say(line.removeprefix("I: ").strip())
        if rest:
            lines.append(rest)
    return child.returncode or 0, lines


#: How lines begin that tell a person how far apt or mmdebstrap is.
_SHOWN = (
    "Need to get",
    "Fetched",
    "Setting up docker.io",
    "I: running apt",
    "I: downloading",
    "I: extracting",
    "I: installing",
    "I: creating",
)


def shown(line: str) -> bool:
    """Whether a line tells a person how far the work is."""
    return line.startswith(_SHOWN)
