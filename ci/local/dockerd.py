"""Debian's `dockerd`, installed by apt and started here where no engine answers."""

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from ci.errors import ContainerEngineError
from ci.local import apt, paths, process
from ci.local.wait import until

Say = Callable[[str], None]
#: A first start makes its storage and firewall rules; on a slow disk that takes a while.
PATIENCE = 60.0
PID_FILE = Path("/var/run/docker.pid")
HINT = "install Docker (https://docs.docker.com/engine/install/) or Podman, then start it"


def log_file() -> Path:
    """Return where the daemon started here writes."""
    return paths.machine_dir() / "dockerd.log"


def _record() -> Path:
    return paths.machine_dir() / "dockerd.json"


def running() -> process.Process | None:
    """Return the daemon that was started here, None if there is none or it has ended."""
    found = process.read(_record())
    return found if found is not None and found.alive() else None


async def install_and_start(say: Say, answers: Callable[[], Awaitable[bool]]) -> None:
    """Make a container engine answer on a Debian or Ubuntu machine, as root.

    Args:
        say: told each step.
        answers: whether the engine answers at the system's socket.

    Raises:
        ContainerEngineError: this is not such a machine, or a step failed.
    """
    refuse_if_not_startable()
    if shutil.which("dockerd") is None:
        say("no container engine here: installing Debian's docker.io")
        await apt.install(["docker.io"], say, failure=ContainerEngineError)
        if await until(answers, seconds=2):  # the package may have started it
            return
    if _systemd():
        await _start_service(say, answers)
    else:
        say("starting dockerd")
        forget_another(PID_FILE)
        await start(["dockerd"], answers)


def forget_another(pid_file: Path) -> None:
    """Remove the pid file of a dockerd that is dead and whose number is another process's now.

    dockerd 20.10 asks only whether a process of that number lives, and refuses to start: so it is
    after a crash and a restart of a machine that keeps /var/run.
    """
    try:
        number = int(pid_file.read_text())
        name = Path(f"/proc/{number}/comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return  # no file, or no process: dockerd itself replaces the file
    if name != "dockerd":
        pid_file.unlink(missing_ok=True)


def refuse_if_not_startable() -> None:
    """Raise unless an engine can be installed, or started where it is installed.

    Raises:
        ContainerEngineError: not root, or a system without apt.
    """
    if shutil.which("dockerd") is not None:
        if os.geteuid() != 0:
            message = "Docker is installed and does not answer; starting it needs root"
            raise ContainerEngineError(message, hint="sudo service docker start")
        return
    if not apt.usable_system():
        message = "no container engine answers, and this system has no apt to install one"
        raise ContainerEngineError(message, hint=HINT)
    if os.geteuid() != 0:
        message = "no container engine answers; installing one needs root"
        raise ContainerEngineError(
            message, hint="sudo apt-get install docker.io && sudo usermod -aG docker $USER"
        )


async def start(command: list[str], answers: Callable[[], Awaitable[bool]]) -> process.Process:
    """Start a daemon in the background and wait until it answers.

    Args:
        command: the program and its arguments.
        answers: whether it answers.

    Raises:
        ContainerEngineError: it ended or stayed silent; its last log lines are in the message.
    """
    child = process.launch(command, environ=os.environ, log=log_file())
    process.record(_record(), child)

    async def settled() -> bool:
        return not child.alive() or await answers()

    if await until(settled, seconds=PATIENCE) and child.alive():
        return child
    what = f"does not answer after {PATIENCE:.0f} s" if child.alive() else "ended at its start"
    await child.stop(seconds=10)
    _record().unlink(missing_ok=True)
    message = f"{command[0]} {what}; its last lines:\n{tail(log_file())}"
    raise ContainerEngineError(message, hint=f"its whole log: {log_file()}")


async def stop(say: Say) -> bool:
    """Stop the daemon that was started here, and no other; return whether there was one."""
    found = running()
    if found is None:
        return False
    say(f"stopping dockerd (process {found.pid})")
    await found.stop(seconds=30)
    _record().unlink(missing_ok=True)
    return True


def _systemd() -> bool:
    return Path("/run/systemd/system").is_dir()  # sd_booted(3)


def tail(path: Path, lines: int = 5) -> str:
    """Return the last lines of a text file, indented."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


async def _start_service(say: Say, answers: Callable[[], Awaitable[bool]]) -> None:
    """Start the system's service, which then belongs to the system."""
    say("starting the docker service")
    done = await anyio.run_process(["systemctl", "start", "docker"], check=False)
    if done.returncode == 0 and await until(answers, seconds=PATIENCE):
        return
    message = f"the docker service does not start: {done.stderr.decode().strip()}"
    raise ContainerEngineError(message, hint="journalctl -u docker")
