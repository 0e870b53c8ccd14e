"""The parts of ci.local that need no container engine: paths, processes, locks, ports, ..."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ci.common import owners
from ci.config import machine
from ci.engine.docker.docker_api import REPOSITORY, own_tags
from ci.engine.store.cache import Store
from ci.errors import HostError, UsageError
from ci.local import (
    apt,
    base_image,
    container_engine,
    debian_image,
    disk_space,
    dockerd,
    embedded_aws,
    leftovers,
    lock,
    paths,
    process,
)
from ci.local.aws import ownership, server
from ci.local.stack import Removed
from ci.local.wait import blocking, until


def test_an_instance_has_its_own_state_and_shares_the_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("ACSO_INSTANCE", "one")
    first, caches = paths.state_dir(), paths.cache_dir()
    monkeypatch.setenv("ACSO_INSTANCE", "two")
    assert (first, paths.state_dir()) == (tmp_path / "acso" / "one", tmp_path / "acso" / "two")
    assert paths.cache_dir() == caches
    assert paths.instance_labels() == {"acso.instance": "two", "acso.state": paths.state_id()}


@pytest.mark.parametrize("name", ["../x", "A", ".machine", "a b", "x" * 41, "-a"])
def test_a_name_that_could_leave_its_folder_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACSO_INSTANCE", name)
    with pytest.raises(UsageError, match="is not a valid name"):
        machine.instance()


async def test_waiting_ends_at_its_deadline_and_checks_at_least_once() -> None:
    asked = []

    async def never() -> bool:
        asked.append(1)
        return False

    assert not await until(never, seconds=0)
    assert asked == [1]
    assert not blocking(lambda: False, seconds=0)


async def test_a_process_is_known_by_its_start_and_stopped_for_good(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(99)"
    log = tmp_path / "log"
    child = process.launch([sys.executable, "-uc", stubborn], environ={"PATH": os.defpath}, log=log)
    assert blocking(lambda: log.read_text() == "1\n", seconds=10)
    process.record(tmp_path / "p.json", child, port=1)
    assert process.read(tmp_path / "p.json") == child
    assert not process.Process(pid=child.pid, started="another time").alive()
    await child.stop(seconds=0.2)
    assert not child.alive()
    await child.stop(seconds=0.2)  # a second time is fine


def test_a_record_that_is_half_or_absent_is_none(tmp_path: Path) -> None:
    (tmp_path / "half").write_text('{"pid": 1')
    assert process.read(tmp_path / "half") is None
    assert process.read(tmp_path / "absent") is None


async def test_a_lock_is_held_by_one_and_free_after_its_holder(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[int] = []

    async def take(number: int) -> None:
        async with lock.held(tmp_path / "a.lock", said.append):
            order.append(number)
            await anyio.lowlevel.checkpoint()
            order.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(take, 1)
        group.start_soon(take, 2)
    assert order in ([1, 1, 2, 2], [2, 2, 1, 1])


async def test_a_child_that_inherits_the_lock_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    async with lock.held(path, print) as descriptor:
        child = subprocess.Popen(["sleep", "99"], pass_fds=[descriptor])  # noqa: ASYNC220
    try:
        with pytest.raises(HostError, match="another process has held"):
            async with lock.held(path, print, seconds=0.1):
                pass
    finally:
        child.kill()
        child.wait()
    async with lock.held(path, print, seconds=5):
        pass


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("dpkg: error: No space left on device", "the disk is full"),
        ("E: Failed to fetch http://m.test/x  404", "the package mirror cannot be reached"),
        ("Err:1 http://m.test Could not resolve 'm.test'", "the package mirror cannot be reached"),
        ("E: Could not get lock /var/lib/dpkg/lock", "another package manager"),
        ("E: something else", ""),
    ],
)
def test_the_advice_follows_from_the_output_of_the_tool(line: str, advice: str) -> None:
    assert apt.advice(["fine", line]).startswith(advice)
    assert bool(apt.advice([line])) == bool(advice)


def test_a_system_is_identified_by_os_release(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('NAME="x"\nID=linuxmint\nID_LIKE="ubuntu debian"\n')
    assert apt.system_ids(release) == {"linuxmint", "ubuntu", "debian"}
    assert apt.system_ids(tmp_path / "absent") == set()


def test_too_little_disk_space_is_an_error(tmp_path: Path) -> None:
    disk_space.require(tmp_path / "not" / "yet", 1, "a file")
    with pytest.raises(HostError, match=r"a file needs .* at .* are free"):
        disk_space.require(tmp_path / "not" / "yet", disk_space.free(tmp_path) * 2, "a file")
    assert [disk_space.format_size(n) for n in (40_000_000, 1_500_000_000)] == ["40 MB", "1.5 GB"]


def test_only_docker_host_is_tried_if_set_else_the_known_sockets_in_order() -> None:
    assert container_engine.candidates({"DOCKER_HOST": "tcp://x:1"}, "unix:///c") == [None]
    found = container_engine.candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, "unix:///colima.sock")
    assert found == [
        "unix:///colima.sock",
        "unix:///var/run/docker.sock",
        "unix:///run/user/7/docker.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]


def test_the_wanted_port_is_used_if_it_is_free_on_every_address() -> None:
    free = embedded_aws.free_port(["127.0.0.1", "127.0.0.2"], 0)
    assert embedded_aws.free_port(["127.0.0.1", "127.0.0.2"], free) == free
    with socket.create_server(("127.0.0.2", free)):
        assert embedded_aws.free_port(["127.0.0.1", "127.0.0.2"], free) != free


def test_the_server_does_not_listen_on_an_address_of_another_machine() -> None:
    assert embedded_aws.listening_addresses("192.0.2.1") == ["127.0.0.1"]
    assert embedded_aws.listening_addresses("127.0.0.1") == ["127.0.0.1"]


def test_the_embedded_aws_gives_its_endpoint_registry_and_load_balancer() -> None:
    me = process.of(os.getpid())
    found = embedded_aws.Emulator(port=4566, bridge="172.17.0.1", process=me)
    assert found.load_balancer.format(name="x") == "http://127.0.0.1:4566/_alb/x"
    assert found.registry == "localhost:4566"
    assert found.environ()["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_the_server_knows_its_instance_and_opens_no_other_ports() -> None:
    found = server.environ(port=1, instance="x", state="y", docker="unix:///d.sock")
    assert (found["MINISTACK_HOSTNAME"], found["DOCKER_HOST"]) == ("acso-x-y", "unix:///d.sock")
    assert found["IOT_MTLS_ENABLED"] == found["SFTP_ENABLED"] == "0"
    assert "DOCKER_HOST" not in server.environ(port=1, instance="x", state="y", docker=None)


def test_containers_without_our_label_are_not_removed() -> None:
    sweep = ownership._only_own(lambda _, **options: int(options["include_unlabelled"]))
    assert sweep(None, include_unlabelled=True) == 0


def test_what_belongs_to_a_running_owner_or_may_do_so_is_not_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    me = owners.owner_name()
    place, process_id, _, token = me.rsplit("/", 3)
    dead = "/".join([place, process_id, "1", token])
    unseen = "/".join([f"another-host/{place.partition('/')[2]}", process_id, "1", token])
    mine, other = {paths.STATE_LABEL: paths.state_id()}, {paths.STATE_LABEL: "other"}

    def removable(labels: dict[str, str], owner: str = "", session: str = "") -> bool:
        owned = {paths.OWNER_LABEL: owner, leftovers.SESSION_LABEL: session}
        return leftovers.is_removable(labels | {k: v for k, v in owned.items() if v})

    assert [removable(mine, owner) for owner in ("", dead, unseen, me)] == [True, True, True, False]
    assert [removable(other, owner) for owner in ("", dead, unseen, me)] == [
        *(False, True, False, False)
    ]
    for labels in (mine, other):
        assert [removable(labels, session=each) for each in (dead, unseen, me)] == [
            *(True, False, False)
        ]


def test_a_folder_has_one_identity_whoever_asks_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "one"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadPoolExecutor(8) as pool:
        found = {each.result() for each in [pool.submit(paths.state_id) for _ in range(8)]}
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "one" / "acso").iterdir()] == ["id"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "two"))
    assert len({*found, paths.state_id(), paths.cache_id()}) == 3


def test_a_folder_that_cannot_be_written_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "acso").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(HostError, match=f"cannot use {tmp_path}/acso/id: ") as caught:
        paths.instance_labels()
    assert "XDG_STATE_HOME" in caught.value.hint


def test_the_images_of_a_cache_are_told_by_its_tags(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    try:
        tags = [f"{REPOSITORY}:{store.tag('0' * 64)}" for store in (one, two)]
        image = {"RepoTags": [*tags, f"localhost/{tags[0]}", "python:3", "<none>:<none>"]}
        assert own_tags(image, one.identity) == [tags[0], tags[0]]
        assert own_tags(image, two.identity) == [tags[1]]
    finally:
        one.close()
        two.close()


def test_a_content_id_depends_on_files_and_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = debian_image.content_id("sha256:1")
    assert first.startswith("sha256:")
    assert debian_image.content_id("sha256:1") == first
    assert debian_image.content_id("sha256:2") != first
    monkeypatch.setattr(debian_image, "CONFIGURATION", {"Env": ["A=b"]})
    assert debian_image.content_id("sha256:1") != first


def test_a_load_error_is_found_among_docker_s_events() -> None:
    events = [{"stream": "x"}, {"error": "no space left on device"}]
    assert debian_image.load_error(events) == "no space left on device"
    assert debian_image.load_error([{"stream": "Loaded image: x"}]) == ""


def test_a_base_image_built_with_another_recipe_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = base_image.BaseImage(
        reference="acso/x:1", digest="sha256:0", origin="debian", recipe=debian_image.recipe()
    )
    base_image._record("x", made)
    assert base_image._recorded("x") == made
    monkeypatch.setattr(debian_image, "PACKAGES", ("python3",))
    assert base_image._recorded("x") is None


def test_what_was_removed_is_counted_by_kind() -> None:
    assert str(Removed(items=("container a", "container b", "volume c"))) == "2 container, 1 volume"
    assert str(Removed()) == "nothing to remove"


def test_a_pid_file_with_the_number_of_another_process_is_removed(tmp_path: Path) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    dockerd.remove_stale_pid_file(pid_file)
    assert not pid_file.exists()
    dockerd.remove_stale_pid_file(pid_file)  # none is fine too


def test_the_pid_file_of_a_running_dockerd_is_kept(tmp_path: Path) -> None:
    program = tmp_path / "dockerd"
    program.symlink_to("/bin/sh")
    script = [str(program), "-c", "echo up; read line"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the name is the program's only once that runs
        pid_file = tmp_path / "docker.pid"
        pid_file.write_text(str(process.pid))
        dockerd.remove_stale_pid_file(pid_file)
        process.kill()
    assert pid_file.exists()
