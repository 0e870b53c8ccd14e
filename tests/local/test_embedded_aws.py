"""The process of the embedded AWS: started once, replaced if it has died, removed by `down`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import anyio
import pytest

from ci.config import machine
from ci.errors import HostError
from ci.local import embedded_aws, paths, stack
from ci.local.aws import patching
from ci.local.base_image import BaseImage
from ci.local.container_engine import Docker
from ci.local.wait import blocking
from tests.local.aws import Aws, leftovers

pytestmark = pytest.mark.docker
START = """
import anyio
from ci.local import container_engine, embedded_aws

async def main() -> None:
    engine = await container_engine.ensure(lambda line: None)
    found = await embedded_aws.ensure(engine, lambda line: None)
    print(found.process.pid, found.port)

anyio.run(main)
"""


def started(number: int) -> Sequence[str]:
    """Start it in several processes at the same time; return what each of them got."""
    children = [
        subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    answers = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0] * number
    return answers


@pytest.mark.usefixtures("apart")
def test_two_processes_at_the_same_time_start_one(engine: Docker) -> None:
    first, second = started(2)
    assert first == second
    found = anyio.run(embedded_aws.ensure, engine, print)
    assert f"{found.process.pid} {found.port}\n" == first


@pytest.mark.usefixtures("apart")
def test_it_listens_only_on_loopback_and_the_bridge(engine: Docker) -> None:
    found = anyio.run(embedded_aws.ensure, engine, print)
    for address in ("127.0.0.1", engine.bridge):
        socket.create_connection((address, found.port), timeout=5).close()
    # If it listened on all addresses, it would answer at every address of the loopback network.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", found.port), timeout=5).close()


@pytest.mark.usefixtures("apart")
async def test_after_a_kill_it_is_started_on_the_same_port_and_old_containers_are_removed(
    engine: Docker, image: BaseImage
) -> None:
    first = await embedded_aws.ensure(engine, print)
    aws = Aws(emulator=first, docker=engine, image=image.reference)
    container = await anyio.to_thread.run_sync(
        lambda: aws.container(aws.run(aws.definition({"VERSION": "one"})))
    )
    os.kill(first.process.pid, signal.SIGKILL)
    assert blocking(lambda: not first.process.alive(), seconds=5)
    assert await embedded_aws.find() is None
    second = await embedded_aws.ensure(engine, print)
    assert (second.port, second.process == first.process) == (first.port, False)
    assert container.name not in leftovers(engine)


@pytest.mark.usefixtures("apart")
async def test_another_port_is_used_if_the_port_is_taken(engine: Docker) -> None:
    first = await embedded_aws.ensure(engine, print)
    os.kill(first.process.pid, signal.SIGKILL)
    assert blocking(lambda: not first.process.alive(), seconds=5)
    printed: list[str] = []
    with socket.create_server(("127.0.0.1", first.port)):
        second = await embedded_aws.ensure(engine, printed.append)
    assert second.port != first.port
    assert f"port {first.port} is in use: using {second.port}" in printed


@pytest.mark.usefixtures("apart")
async def test_the_error_for_a_failed_start_has_its_last_log_lines(
    engine: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No interface has this address, so binding fails, as with a bridge that was removed.
    monkeypatch.setattr(embedded_aws, "listening_addresses", lambda _: ["127.0.0.1", "192.0.2.1"])
    monkeypatch.setattr(embedded_aws, "free_port", lambda *_: 1)
    with pytest.raises(
        HostError,
        match=r"(?s)could not be started.*port 1 of 127.0.0.1 and 192.0.2.1: Cannot assign",
    ) as caught:
        await embedded_aws.ensure(engine, print)
    assert str(paths.state_dir()) in caught.value.hint
    assert await embedded_aws.find() is None


@pytest.mark.usefixtures("apart")
async def test_without_the_corrections_a_first_deployment_completes_immediately(
    engine: Docker, image: BaseImage
) -> None:
    # The use of `plain`: to tell the behaviour of ministack from that of the corrections.
    found = await embedded_aws.ensure(engine, print, plain=True)
    assert embedded_aws.identity(found.port)["corrections"] == []
    aws = Aws(emulator=found, docker=engine, image=image.reference)
    service = await anyio.to_thread.run_sync(
        lambda: aws.service(aws.definition({"DELAY": "60"}), balanced=False)
    )
    assert await anyio.to_thread.run_sync(service.state) == "COMPLETED"


def test_another_release_of_ministack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "version", lambda _: "1.5.34")
    with pytest.raises(
        patching.IncompatibleError, match=r"need ministack 1\.5\.33, but 1\.5\.34 is installed"
    ):
        patching.check_release()


def test_a_missing_name_in_ministack_is_an_error() -> None:
    with pytest.raises(patching.IncompatibleError, match=r"has no os\.no_such_name"):
        patching.replace(os, "no_such_name", lambda original: original)


@pytest.mark.usefixtures("apart")
async def test_down_removes_everything_of_this_instance_and_nothing_of_others(
    engine: Docker, image: BaseImage
) -> None:
    running = (await stack.up(print)).emulator
    mine = paths.instance_labels()
    other = mine | {paths.INSTANCE_LABEL: machine.instance() + "-x"}
    elsewhere = mine | {paths.STATE_LABEL: "elsewhere"}  # of the same name, by another user
    client = engine.client
    for labels, name in ((mine, "mine"), (other, "other"), (elsewhere, "elsewhere")):
        full = f"{machine.instance()}-{name}"
        client.volumes.create(full, labels=labels)
        client.networks.create(full, labels=labels)
        client.containers.create(image.reference, name=full, labels=labels)
    try:
        removed = await stack.down(print, cache=False)
        assert not running.process.alive()
        assert str(removed) == "1 process, 1 container, 1 network, 1 volume"
        assert set(leftovers(engine)) == {f"{machine.instance()}-elsewhere"}
        assert not paths.state_dir().exists()
        assert str(await stack.down(print, cache=False)) == "nothing to remove"
    finally:
        for name in ("other", "elsewhere"):
            full = f"{machine.instance()}-{name}"
            client.containers.get(full).remove()
            client.networks.get(full).remove()
            client.volumes.get(full).remove()


@pytest.mark.usefixtures("apart")
async def test_doctor_shows_the_state_of_each_part_and_changes_nothing(engine: Docker) -> None:
    before = {item.name: item for item in await stack.doctor()}
    assert (before["embedded AWS"].state, before["embedded AWS"].fix) == (
        "missing",
        "start it: ./acso up",
    )
    assert await embedded_aws.find() is None
    await embedded_aws.ensure(engine, print)
    after = {item.name: item for item in await stack.doctor()}
    assert after["embedded AWS"].state == "ok"
    for name in ("Python", "container engine", "base image", "disk space", "package index"):
        assert after[name].state == "ok", after[name]


@pytest.mark.usefixtures("apart")
async def test_doctor_reports_running_tasks_whose_containers_do_not_run(
    engine: Docker, image: BaseImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await embedded_aws.ensure(engine, print)
    wrong = embedded_aws.identity(found.port) | {"containers": ["0" * 64]}
    monkeypatch.setattr(embedded_aws, "identity", lambda _: wrong)
    findings = {item.name: item for item in await stack.doctor()}
    assert findings["embedded AWS"].state == "broken"
    del image
