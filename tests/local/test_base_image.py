"""The base image: pulled or built once, complete or not at all."""

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
from tests.containers import output_of
from tests.local.aws import Aws

pytestmark = pytest.mark.docker
ABSENT = "localhost:1/python:3.11-slim"  # nothing listens on port 1: refused immediately
#: Stands in for mmdebstrap, which takes 20 seconds: builds a small archive and counts its calls.
STAND_IN = """#!/bin/sh
echo once >>"{home}/count"
for last; do :; done
echo half >"$last"
{then}
mkdir "$TMPDIR/root" && echo "{content}" >"$TMPDIR/root/file"
tar -C "$TMPDIR/root" --mtime=@0 -cf "$last" .
"""
RUN = """
import anyio, sys
from ci.local import base_image, container_engine, debian_image

debian_image.PACKAGES = (sys.argv[1],)

async def main() -> None:
    engine = await container_engine.ensure(lambda line: None)
    await base_image.ensure(engine, lambda line: None, name="localhost:1/python:3.11-slim")

anyio.run(main)
"""


class StandIn:
    """A stand-in for mmdebstrap on PATH, with its own caches."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.content = str(home)
        self.count = home / "count"
        self.gate = home / "gate"

    def write(self, then: str = "") -> None:
        program = self.home / "mmdebstrap"
        program.write_text(STAND_IN.format(then=then, home=self.home, content=self.content))
        program.chmod(0o755)

    @property
    def asked(self) -> int:
        return len(self.count.read_text().splitlines()) if self.count.exists() else 0


@pytest.fixture
def made_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Docker) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # A recipe of its own: images that others built are not used.
    monkeypatch.setattr(debian_image, "PACKAGES", (str(tmp_path),))
    monkeypatch.setattr(apt, "system_ids", lambda: {"debian"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield stand_in
    for found in base_image.recorded():
        base_image.release(engine, found)
    left = f"{debian_image.REPOSITORY}:*{debian_image.recipe()}*"
    assert not [image.tags for image in engine.client.images.list(left)]


def output_of_image(engine: Docker, image: base_image.BaseImage, *command: str) -> str:
    labels = paths.instance_labels()
    return output_of(engine.client, image.reference, list(command), labels=labels).decode()


def test_it_has_both_python_commands_venv_and_certificates_and_no_logs_or_lists(
    engine: Docker, image: base_image.BaseImage
) -> None:
    script = (
        "set -e; python --version; python3 --version; python -m venv /tmp/v; /tmp/v/bin/pip -V;"
        "test -s /etc/ssl/certs/ca-certificates.crt;"
        'test -z "$(find /var/lib/apt/lists /var/log -type f)"; echo $LANG'
    )
    output = output_of_image(engine, image, "sh", "-c", script)
    assert output.count("Python 3.11.") == 2
    assert output.splitlines()[-1] == "C.UTF-8"


def test_its_compiled_modules_are_valid_although_timestamps_are_changed(
    engine: Docker, image: base_image.BaseImage
) -> None:
    # Stale ones would be compiled again at every start if the file system is read-only.
    script = "import sys, json; print(sys.modules['json'].__cached__); sys.exit(0)"
    output = output_of_image(engine, image, "python3", "-v", "-c", script)
    assert not re.findall(r"code object from '[^']+\.py'", output)
    assert "matches /usr/lib/python3.11/json/__init__.py" in output


async def test_a_second_call_creates_nothing_and_checks_that_the_image_exists(
    engine: Docker, image: base_image.BaseImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_image, "_create", None)  # would raise if it were called
    assert await base_image.ensure(engine, print) == image
    monkeypatch.setattr(base_image, "_image_id", lambda *_: None)  # as if somebody had removed it
    assert await base_image.current(engine) is None


async def test_an_image_of_a_registry_is_pulled_by_digest(
    engine: Docker, made_by: StandIn, aws: Aws
) -> None:
    name = f"{aws.emulator.registry}/acso-base"
    await anyio.to_thread.run_sync(lambda: aws.push(name))
    found = await base_image.ensure(engine, print, name=f"{name}:1")
    assert (found.origin, found.reference) == ("registry", f"{name}@{found.digest}")
    assert engine.client.images.get(found.reference).id == found.image_id
    assert [image.reference for image in base_image.recorded()] == [found.reference]
    assert await base_image.ensure(engine, print, name=f"{name}:1") == found
    assert made_by.asked == 0


async def test_an_image_that_exists_under_the_name_is_used(
    engine: Docker, made_by: StandIn, aws: Aws
) -> None:
    found = await base_image.ensure(engine, print, name=aws.image)
    assert (found.origin, found.reference, found.pulled) == ("registry", aws.image, False)
    assert base_image.release(engine, found) == []  # the user's image stays
    assert engine.client.images.get(aws.image).id == found.image_id
    assert made_by.asked == 0


async def test_two_calls_at_the_same_time_build_it_once(engine: Docker, made_by: StandIn) -> None:
    made_by.write(then=f'while [ ! -e "{made_by.gate}" ]; do sleep 0.05; done')
    found: list[base_image.BaseImage] = []
    printed: list[str] = []

    async def ensure() -> None:
        found.append(await base_image.ensure(engine, printed.append, name=ABSENT))

    async def waiting() -> bool:
        return any("waiting for another process" in line for line in printed) and made_by.asked == 1

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


async def test_a_second_cache_uses_the_image_of_the_first_and_each_removes_only_its_tag(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    first = await base_image.ensure(engine, print, name=ABSENT)
    with monkeypatch.context() as second_user:
        second_user.setenv("XDG_CACHE_HOME", str(made_by.home / "second"))
        printed: list[str] = []
        assert await base_image.ensure(engine, printed.append, name=ABSENT) == first
        assert f"{ABSENT} cannot be pulled: using {first.reference}, which exists" in printed
        assert made_by.asked == 1
        removed = base_image.release(engine, first)
        assert [name.partition(":")[0] for name in removed] == [base_image.CLAIMS]
    assert await base_image.current(engine, ABSENT) == first
    assert base_image.release(engine, first)[1:] == [first.reference]
    assert await base_image.current(engine, ABSENT) is None


async def test_the_same_content_is_the_same_image_whoever_builds_it_wherever(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.content = "$PYTHONPYCACHEPREFIX $HOME $(umask) $USER"
    made_by.write()
    first = await base_image.ensure(engine, print, name=ABSENT)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/somewhere/else")
    monkeypatch.setenv("USER", "someone else")
    monkeypatch.delenv("HOME")
    before = os.umask(0o077)
    try:
        again = await base_image.ensure(engine, print, name=ABSENT, renew=True)
    finally:
        os.umask(before)
    assert made_by.asked == 2
    assert again == first
    assert engine.client.images.get(first.reference).id == first.image_id


async def test_newer_packages_are_used_when_the_user_asks_and_move_no_name(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    first = await base_image.ensure(engine, print, name=ABSENT)
    made_by.content = "newer"
    made_by.write()
    assert await base_image.ensure(engine, print, name=ABSENT) == first
    with monkeypatch.context() as second_user:
        second_user.setenv("XDG_CACHE_HOME", str(made_by.home / "second"))
        renewed = await base_image.ensure(engine, print, name=ABSENT, renew=True)
        assert renewed.digest != first.digest
        assert await base_image.current(engine, ABSENT) == renewed
        base_image.release(engine, renewed)
    assert await base_image.current(engine, ABSENT) == first


async def test_an_image_that_is_not_what_its_name_says_is_not_used(
    engine: Docker, made_by: StandIn, image: base_image.BaseImage
) -> None:
    made_by.write()
    name = debian_image.reference("sha256:" + "0" * 64)
    repository, _, tag = name.partition(":")
    engine.client.images.get(image.reference).tag(repository, tag)
    try:
        found = await base_image.ensure(engine, print, name=ABSENT)
    finally:
        engine.client.images.remove(name)
    assert made_by.asked == 1
    assert found.reference != name


@pytest.mark.matrix  # mmdebstrap itself, twice: 60 s
async def test_debian_s_packages_make_the_same_image_twice(
    engine: Docker, image: base_image.BaseImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del image
    found = []
    for number in (1, 2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{number}"))
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / f"bytecode-{number}"))
        found.append(await base_image.ensure(engine, print, name=ABSENT, renew=True))
        base_image.release(engine, found[-1])
    assert found[0] == found[1]


def mounted(path: Path) -> bool:
    """Return whether a folder is a mount for this process."""
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


async def test_the_next_build_succeeds_after_one_that_was_killed(
    engine: Docker, made_by: StandIn
) -> None:
    mount = 'mkdir "$TMPDIR/sys"; mount -t tmpfs none "$TMPDIR/sys"'
    made_by.write(then=f'{mount}; echo $$ >"{made_by.count}.pid"; while :; do sleep 0.05; done')
    environ = {**os.environ, "PYTHONPATH": str(Path(base_image.__file__).parents[2])}
    command = [sys.executable, "-c", RUN, *debian_image.PACKAGES]
    child = subprocess.Popen(command, env=environ)  # noqa: ASYNC220 (killed below)
    pid = made_by.home / "count.pid"
    assert blocking(lambda: pid.exists() and pid.read_text().strip() != "", seconds=20)
    work = paths.cache_dir() / "base" / "work"
    # What it mounts is not seen here, so the next build cannot delete what lies below a mount.
    assert not mounted(work / "sys")
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert work.exists()
    made_by.write()
    # mmdebstrap ends with its parent, so it releases the lock: waiting for it would time out.
    with anyio.fail_after(120):
        found = await base_image.ensure(engine, print, name=ABSENT)
    assert engine.client.images.get(found.reference).id == found.image_id
    assert not work.exists()


async def test_a_full_disk_during_the_build_is_one_clear_error(
    engine: Docker, made_by: StandIn
) -> None:
    made_by.write(then="cat /etc/hostname >/dev/full || exit 1")
    with pytest.raises(HostError, match="No space left on device") as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "disk is full" in caught.value.hint
    assert not (paths.cache_dir() / "base" / "work").exists()
    assert await base_image.current(engine, ABSENT) is None


async def test_too_little_disk_space_is_reported_before_the_build(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    monkeypatch.setattr(debian_image, "SPACE_NEEDED", 10**15)
    with pytest.raises(HostError, match=r"the base image needs 1000000\.0 GB at .* are free"):
        await base_image.ensure(engine, print, name=ABSENT)
    assert made_by.asked == 0


async def test_an_unreachable_mirror_is_one_clear_error(engine: Docker, made_by: StandIn) -> None:
    made_by.write(
        then="echo \"E: Failed to fetch http://mirror.test Could not resolve 'mirror'\"; exit 25"
    )
    with pytest.raises(
        HostError, match=r"(?s)could not build the base image.*mirror\.test"
    ) as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "mirror cannot be reached" in caught.value.hint


async def test_on_another_system_than_debian_the_error_says_what_to_do(
    engine: Docker, made_by: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by.write()
    monkeypatch.setattr(apt, "system_ids", lambda: {"ubuntu", "debian"})
    with pytest.raises(HostError, match="only Debian can build a base image") as caught:
        await base_image.ensure(engine, print, name=ABSENT)
    assert "docker load" in caught.value.hint


async def test_the_lock_of_a_removed_file_excludes_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    async with lock.held(path, print):
        path.unlink()  # as `down` does
        async with lock.held(path, print, seconds=1):
            with pytest.raises(HostError, match="another process has held"):
                async with lock.held(path, print, seconds=0.2):
                    pass
