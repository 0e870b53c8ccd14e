"""What the engine is compared with: `docker build` and `docker import` of this machine."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Builder:
    """The `docker build` of this machine."""

    name: str
    command: tuple[str, ...]
    buildkit: str


def builder() -> Builder:
    """Return BuildKit if a client of this machine can use it, else the classic builder."""
    programs = [path for path in ("/usr/bin/docker", shutil.which("docker")) if path]
    for program in programs:
        probe = [program, "build", "--help"]
        environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run(probe, capture_output=True, text=True, env=environ, check=False)
        if done.returncode == 0 and "--secret" in done.stdout:
            return Builder(name="docker build, BuildKit", command=(program,), buildkit="1")
    if not programs:
        message = (
            "the engine benchmark compares with `docker build`, but no docker program is on PATH"
        )
        raise SystemExit(message)
    return Builder(name="docker build, classic", command=(programs[0],), buildkit="0")


def built(dockerfile: str, label: str) -> float:
    """Build an image of a Dockerfile and remove it; return the seconds of the build."""
    found = builder()
    command = [*found.command, "build", "--quiet", "--label", label, "-"]
    environ = {**os.environ, "DOCKER_BUILDKIT": found.buildkit}
    started = time.perf_counter()
    done = subprocess.run(
        command, input=dockerfile, capture_output=True, text=True, env=environ, check=False
    )
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    subprocess.run([*found.command, "rmi", done.stdout.strip()], capture_output=True, check=False)
    return took


def imported(source: Path) -> float:
    """Send a directory to the container engine as an archive; return the seconds."""
    docker = builder().command[0]
    started = time.perf_counter()
    with subprocess.Popen(["tar", "c", "-C", source, "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            [docker, "import", "-"], stdin=tar.stdout, capture_output=True, text=True, check=False
        )
    took = time.perf_counter() - started
    if done.returncode != 0 or tar.returncode != 0:
        raise SystemExit(done.stderr)
    subprocess.run([docker, "rmi", done.stdout.strip()], capture_output=True, check=False)
    return took
