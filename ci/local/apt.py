"""Install packages with apt, on Debian and Ubuntu."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.streams.text import TextReceiveStream

from ci.errors import HostError

Say = Callable[[str], None]
#: Seconds without progress on a connection after which apt gives up on a mirror.
_TIMEOUT = 20


def supports_apt() -> bool:
    """Return whether this system is Debian, Ubuntu or a derivative, and has apt."""
    return bool({"debian", "ubuntu"} & system_ids()) and shutil.which("apt-get") is not None


def system_ids(release: Path = Path("/etc/os-release")) -> set[str]:
    """Return the ids of this system and of those it derives from (os-release: ID, ID_LIKE)."""
    try:
        lines = release.read_text().splitlines()
    except OSError:
        return set()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    names = f"{found.get('ID', '')} {found.get('ID_LIKE', '')}"
    return set(names.replace('"', "").split())


async def install(packages: Sequence[str], say: Say, *, failure: type[HostError]) -> None:
    """Install packages after updating the package lists.

    Args:
        packages: their names.
        say: receives apt's lines of progress.
        failure: the class of the error to raise.

    Raises:
        HostError: of class `failure`; the message has apt's last lines.
    """
    names = " ".join(packages)
    options = [f"-oAcquire::http::Timeout={_TIMEOUT}", f"-oAcquire::https::Timeout={_TIMEOUT}"]
    for command in (
        ["apt-get", "update", *options],
        # With recommended packages: without systemd, docker.io needs cgroupfs-mount.
        ["apt-get", "install", "--yes", *options, *packages],
    ):
        code, lines = await run(command, say)
        if code != 0:
            last = "\n".join(f"  {line}" for line in lines[-5:])
            message = f"apt could not install {names}; its last lines:\n{last}"
            raise failure(
                message, hint=advice(lines) or f"apt-get update && apt-get install {names}"
            )


def advice(lines: Sequence[str]) -> str:
    """Return what to do about a known failure in a tool's output, "" if none is recognised."""
    text = "\n".join(lines).lower()
    mirror = "the package mirror cannot be reached: check the network and http_proxy"
    known = {
        "no space left on device": "the disk is full: free some space, then try again",
        "could not resolve": mirror,
        "failed to fetch": mirror,
        "could not get lock": "another package manager is running: try again when it has ended",
    }
    return next((advice for sign, advice in known.items() if sign in text), "")


async def run(
    command: Sequence[str],
    say: Say,
    *,
    environ: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> tuple[int, list[str]]:
    """Run a program; return its exit code and all lines of its output.

    Args:
        command: the program and its arguments.
        say: receives the lines that show progress.
        environ: its environment variables; None: those of this process.
        keep: file descriptors that the program inherits.
    """
    variables = dict(os.environ if environ is None else environ)
    variables |= {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    lines: list[str] = []
    async with await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=variables,
        pass_fds=keep,
        umask=0o022,
    ) as child:
        if child.stdout is None:
            raise AssertionError
        rest = ""
        async for chunk in TextReceiveStream(child.stdout, errors="replace"):
            *whole, rest = (rest + chunk).split("\n")
            for line in whole:
                lines.append(line.rstrip())
                if is_progress(line):
                    say(line.removeprefix("I: ").strip())
        if rest:
            lines.append(rest)
    return child.returncode or 0, lines


#: Prefixes of the lines that show the progress of apt or mmdebstrap.
_PROGRESS = (
    "Need to get",
    "Fetched",
    "Setting up docker.io",
    "I: running apt",
    "I: downloading",
    "I: extracting",
    "I: installing",
    "I: creating",
)


def is_progress(line: str) -> bool:
    """Return whether a line shows progress."""
    return line.startswith(_PROGRESS)
