"""The base image: made once, whole or not at all, the same wherever a stage uses it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from ci.errors import HostError
from ci.local import apt, base_image, debian_image, lock, paths
from ci.local.container_engine import Docker
from ci.local.wait import blocking, until
from tests.local.aws import Aws

pytestmark = pytest.mark.docker
ABSENT = "localhost:1/python:3.11-slim"  # no registry is there: refused at once
#: Stands for mmdebstrap where its 20 seconds are not what is tested: makes a small archive, when
#: told to, and counts how often it was asked.
STAND_IN = """#!/bin/sh
echo once >>"$COUNT"
for last; do :; done
echo half >"$last"
{then}
mkdir "$TMPDIR/root" && echo "$CONTENT" >"$TMPDIR/root/file"
tar -C "$TMPDIR/root" --mtime=@0 -cf "$last" .
"""
RUN = """
import anyio
from ci.local import base, docker

async def main() -> None:
    engine = await docker.ensure(lambda line: None)
    await base.ensure(engine, lambda line: None, name="localhost:1/python:3.11-slim")

anyio.run(main)
"""


class StandIn:
    """A small mmdebstrap on PATH, caches of its own, and what it made."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.count = home / "count"
        self.gate = home / "gate"

    def write(self, then: str = "") -> None:
        program = self.home / "mmdebstrap"
        program.write_text(STAND_IN.format(then=then))
        program.chmod(0o755)

    @property
    def asked(self) -> int:
        return len(self.count.read_text().splitlines()) if self.count.exists() else 0


@pytest.fixture
def made_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Docker) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT", str(stand_in.count))
    monkeypatch.setenv("CONTENT", str(tmp_path))
    monkeypatch.setattr(apt, "system", lambda: {"debian"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield stand_in
    for path in (paths.cache_dir() / "base").glob("*.json"):
        reference = path.read_text().partition('"reference": "')[2].partition('"')[0]
        engine.client.images.remove(reference)


def test_it_has_python_by_both_names_venv_certificates_and_no_traces(
    engine: Docker, image: base_image.BaseImage
) -> None:
    script = (
        "set -e; python --version; python3 --version; python -m venv /tmp/v; /tmp/v/bin/pip -V;"
        "test -s /etc/ssl/certs/ca-certificates.crt;"
        'test -z "$(find /var/lib/apt/lists /var/log -type f)"; echo $LANG'
    )
    output = engine.client.containers.run(
        image.reference, ["sh", "-c", script], remove=True, labels=paths.instance_labels()
    ).decode()
    assert output.count("Python 3.11.") == 2
    assert output.splitlines()[-1] == "C.UTF-8"


def test_its_compiled_modules_are_valid_although_timestamps_are_levelled(
    engine: Docker, image: base_image.BaseImage
) -> None:
    # Stale ones would be compiled again at every start, where the file system is read-only.
    script = "import sys, json; print(sys.modules['json'].__cached__); sys.exit(0)"
    verbose = ["python3", "-v", "-c", script]
    output = engine.client.containers.run(
        image.reference, verbose, remove=True, stderr=True, labels=paths.instance_labels()
    ).decode()
    assert not re.findall(r"code object from '[^']+\.py'", output)
    assert "matches /usr/lib/python3.11/json/__init__.py" in output


async def test_a_second_call_is_instant_and_looks_at_docker(
    engine: Docker, image: base_image.BaseImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with anyio.fail_after(1):
        assert await base_image.ensure(engine, print) == image
    monkeypatch.setattr(base_image, "_image_id", lambda *_: None)  # as if somebody had removed it
    assert await base_image.current(engine) is None


async def test_one_that_a_registry_has_is_pulled_at_its_digest(
    engine: Docker, made_by: StandIn, aws: Aws
) -> None:
    name = f"{aws.emulator.registry}/acso-base"
    await anyio.to_thread.run_sync(lambda: aws.push(name))
    found = await base_image.ensure(engine, print, name=f"{name}:1")
    assert (found.origin, found.reference) == ("registry", f"{name}@{found.digest}")
    assert engine.client.images.get(found.reference).id == found.image_id
    assert base_image.pulled_reference(f"{name}:1") == found.reference
    assert await base_image.ensure(engine, print, name=f"{name}:1") == found
    assert made_by.asked == 0


async def test_one_that_is_here_by_name_is_taken_as_it_is(
    engine: Docker, made_by: StandIn, aws: Aws
) -> None:
    found = await base_image.ensure(engine, print, name=aws.image)
    assert (found.origin, found.reference, found.pulled) == ("registry", aws.image, False)
    base_image.forget(aws.image)
    assert made_by.asked == 0


async def test_two_at_once_make_it_once(engine: Docker, made_by: StandIn) -> None:
    made_by.write(then=f'while [ ! -e "{made_by.gate}" ]; do sleep 0.05; done')
    found: list[base_image.BaseImage] = []
    said: list[str] = []

    async def ensure() -> None:
        found.append(await base_image.ensure(engine, said.append, name=ABSENT))

    async def waiting() -> bool:
        return any("waiting for another process" in line for line in said) and made_by.asked == 1

    async with anyio.create_task_group() as group:
        group.start_soon(ensure)
        group.start_soon(ensure)
        assert await until(waiting, seconds=10)
        made_by.gate.touch()
    assert made_by.asked == 1
    assert found[0] == found[1]
    assert found[0].origin == "debian"
    labels = engine.client.images.get(found[0].reference).labels
    assert labels == {paths.CACHE_LABEL: "1"}


async def test_a_killed_making_leaves_nothing_that_the_next_trips_over(
    engine: Docker, made_by: StandIn
) -> None:
    made_by.write(then='echo $$ >"$COUNT.pid"; while :; do sleep 0.05; done')
    environ = {**os.environ, "PYTHONPATH": str(Path(base_image.__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", RUN], env=environ)  # noqa: ASYNC220 (killed below)
    pid = made_by.home / "count.pid"
    assert blocking(lambda: pid.exists() and pid.read_text().strip() != "", seconds=20)
    child.send_signal(signal.SIGKILL)
    child.wait()
    work = paths.cache_dir() / "base" / "work"
    assert work.exists()
    made_by.write()
    # The tool is told to end when its parent is gone: it does not hold the lock for long.
    with anyio.fail_after(10):
        found = await base_image.ensure(engine, print, name=ABSENT)
    assert engine.client.images.get(found.reference).id == found.image_id
    assert not work.exists()


async def test_a_full_disk_while_it_is_made_is_one_clear_error(
    engine: Docker, made_by: StandIn
) -> None:
    made_by.write(then="cat /etc/hostname >/dev/full || exit 1")
    with pytest.raises(HostError, match="No space left on device") as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "disk is full" in caught.value.hint
    assert not (paths.cache_dir() / "base" / "work").exists()
    assert await base_image.current(engine, ABSENT) is None


async def test_a_disk_that_is_too_small_is_told_before_the_work(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    monkeypatch.setattr(debian_image, "SIZE", 10**15)
    with pytest.raises(HostError, match=r"the base image needs 1000000\.0 GB at .* are free"):
        await base_image.ensure(engine, print, name=ABSENT)
    assert made_by.asked == 0


async def test_an_unreachable_mirror_is_one_clear_error(engine: Docker, made_by: StandIn) -> None:
    made_by.write(
        then="echo \"E: Failed to fetch http://mirror.test Could not resolve 'mirror'\"; exit 25"
    )
    with pytest.raises(
        HostError, match=r"(?s)could not make the base image.*mirror\.test"
    ) as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "mirror cannot be reached" in caught.value.hint


async def test_a_host_that_is_no_debian_is_told_what_to_do(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    monkeypatch.setattr(apt, "system", lambda: {"ubuntu", "debian"})
    with pytest.raises(HostError, match="can be made on Debian only") as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "docker load" in caught.value.hint


async def test_the_lock_of_a_removed_file_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    async with lock.held(path, print):
        path.unlink()  # as `down` does
        async with lock.held(path, print, seconds=1):
            with pytest.raises(HostError, match="another process has held"):
                async with lock.held(path, print, seconds=0.2):
                    pass
