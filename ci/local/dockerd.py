"""Install Docker with apt and start `dockerd`, on a machine where no container engine answers."""

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from ci.errors import ContainerEngineError
from ci.local import apt, paths, process
from ci.local.wait import until

Say = Callable[[str], None]
#: Seconds. The first start sets up storage and firewall rules, which takes long on a slow disk.
START_TIMEOUT = 60.0
PID_FILE = Path("/var/run/docker.pid")
HINT = "install and start Docker (https://docs.docker.com/engine/install/) or Podman"


def log_file() -> Path:
    """Return the log file of the daemon that was started here."""
    return paths.machine_dir() / "dockerd.log"


def _record() -> Path:
    return paths.machine_dir() / "dockerd.json"


def running() -> process.Process | None:
    """Return the daemon that was started here, None if none was or it has ended."""
    found = process.read(_record())
    return found if found is not None and found.alive() else None


async def install_and_start(say: Say, answers: Callable[[], Awaitable[bool]]) -> None:
    """Install and start Docker on Debian or Ubuntu, as root.

    Args:
        say: receives lines of progress.
        answers: returns whether the engine answers at the system's socket.

    Raises:
        ContainerEngineError: this is another system, the user is not root, or a step failed.
    """
    refuse_if_not_startable()
    if shutil.which("dockerd") is None:
        say("no container engine found: installing the package docker.io")
        await apt.install(["docker.io"], say, failure=ContainerEngineError)
        if await until(answers, seconds=2):  # the package may have started it
            return
    if _systemd():
        await _start_service(say, answers)
    else:
        say("starting dockerd")
        remove_stale_pid_file(PID_FILE)
        await start(["dockerd"], answers)


def remove_stale_pid_file(pid_file: Path) -> None:
    """Remove a pid file of a dead dockerd if another process has its number now.

    dockerd 20.10 refuses to start if any process has that number. This happens after a crash and
    reboot of a machine that keeps /var/run.
    """
    try:
        number = int(pid_file.read_text())
        name = Path(f"/proc/{number}/comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return  # no file, or no such process: dockerd replaces the file itself
    if name != "dockerd":
        pid_file.unlink(missing_ok=True)


def refuse_if_not_startable() -> None:
    """Raise unless an engine can be started, and installed if necessary.

    Raises:
        ContainerEngineError: the user is not root, or the system has no apt.
    """
    if shutil.which("dockerd") is not None:
        if os.geteuid() != 0:
            message = "Docker is installed but does not answer, and starting it needs root"
            raise ContainerEngineError(message, hint="sudo service docker start")
        return
    if not apt.supports_apt():
        message = "no container engine answers, and without apt none can be installed here"
        raise ContainerEngineError(message, hint=HINT)
    if os.geteuid() != 0:
        message = "no container engine answers, and installing one needs root"
        raise ContainerEngineError(
            message, hint="sudo apt-get install docker.io && sudo usermod -aG docker $USER"
        )


async def start(command: list[str], answers: Callable[[], Awaitable[bool]]) -> process.Process:
    """Start a daemon in the background and wait until it answers.

    Args:
        command: the program and its arguments.
        answers: returns whether it answers.

    Raises:
        ContainerEngineError: it ended or does not answer; the message has its last log lines.
    """
    child = process.launch(command, environ=os.environ, log=log_file())
    process.record(_record(), child)

    async def settled() -> bool:
        return not child.alive() or await answers()

    if await until(settled, seconds=START_TIMEOUT) and child.alive():
        return child
    what = (
        f"does not answer after {START_TIMEOUT:.0f} s" if child.alive() else "ended during startup"
    )
    await child.stop(seconds=10)
    _record().unlink(missing_ok=True)
    if await answers():  # another user's command has started one meanwhile
        return child
    message = f"{command[0]} {what}; its last log lines:\n{tail(log_file())}"
    raise ContainerEngineError(message, hint=f"see its log: {log_file()}")


async def stop(say: Say) -> bool:
    """Stop the daemon that was started here, if any; return whether there was one."""
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
    """Start the system's docker service; `stop` leaves it running."""
    say("starting the docker service")
    done = await anyio.run_process(["systemctl", "start", "docker"], check=False)
    if done.returncode == 0 and await until(answers, seconds=START_TIMEOUT):
        return
    message = f"the docker service could not be started: {done.stderr.decode().strip()}"
    raise ContainerEngineError(message, hint="see its log: journalctl -u docker")
