"""What is mounted: directories, files, caches, temporary space."""

import os
from typing import Any

import anyio
import dagger
import docker
import pytest

from tests.engine.behaviours import Behaviours, Lab, Shows
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker
behaviour = Behaviours()
FRESH = f"{INSTANCE}-{os.urandom(4).hex()}"


@behaviour(["x", "f\ng\n", ["f", "g"], ["f"]])
async def changes_in_a_mount_stay_in_the_chain_alone(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("f", "x")
    c = lab.base.with_mounted_directory("/mnt/m", d)
    w = lab.sh("cat /mnt/m/f; echo y > /mnt/m/g", c)
    seen = [await w.stdout(), await lab.sh("ls /mnt/m", w).stdout()]
    return [*seen, await w.directory("/mnt/m").entries(), await d.entries()]


@behaviour([["/mnt/m"], []])
async def mounts_are_listed_and_taken_away(lab: Lab) -> Any:
    c = lab.base.with_mounted_directory("/mnt/m", lab.files("f"))
    return [await c.mounts(), await c.without_mount("/mnt/m").mounts()]


@behaviour("x")
async def a_single_file_can_be_mounted(lab: Lab) -> Any:
    file = lab.dag.directory().with_new_file("f", "x").file("f")
    return (
        await lab.base.with_mounted_file("/mnt/one", file).with_exec(["cat", "/mnt/one"]).stdout()
    )


@behaviour("1\n2\n")
async def a_cache_keeps_what_commands_put_there(lab: Lab) -> Any:
    cached = lab.base.with_mounted_cache("/c", lab.dag.cache_volume(FRESH))
    await lab.sh("echo 1 >> /c/f", cached.with_env_variable("N", "1" + FRESH)).sync()
    return await lab.sh("echo 2 >> /c/f; cat /c/f", cached.with_env_variable("N", "2")).stdout()


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
async def test_a_mount_point_leaves_nothing_in_the_files(lab: Lab) -> None:
    file = lab.dag.file("f", "x")
    c = lab.base.with_mounted_directory("/mnt/m", lab.files("f"))
    c = lab.sh("true", c.with_mounted_file("/run/deep/one", file))
    c = c.without_mount("/mnt/m").without_mount("/run/deep/one")
    assert not await c.exists("/mnt/m")
    assert not await c.exists("/run/deep")
    assert await lab.sh("ls -A /mnt /run/deep 2>&1 || true", c).stdout() == (
        "ls: cannot access '/run/deep': No such file or directory\n/mnt:\n"
    )


async def test_what_replaces_a_mount_point_stays(lab: Lab) -> None:
    c = lab.sh("true", lab.base.with_mounted_directory("/mnt/m", lab.files("f")))
    c = lab.sh("mkdir -p /mnt/m; echo real > /mnt/m/r", c.without_mount("/mnt/m"))
    assert await c.file("/mnt/m/r").contents() == "real\n"


async def test_a_mounted_file_can_be_changed_along_the_chain(lab: Lab) -> None:
    c = lab.base.with_mounted_file("/mnt/one", lab.dag.file("f", "x"))
    c = lab.sh("echo y >> /mnt/one", c)
    assert await c.file("/mnt/one").contents() == "xy\n"
    branch = lab.sh("echo z >> /mnt/one", c.with_env_variable("BRANCH", "1"))
    await lab.sh("echo w >> /mnt/one", c).sync()
    assert await lab.sh("cat /mnt/one", branch).stdout() == "xy\nz\n"


async def test_files_put_below_a_mount_go_into_the_mount(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/mnt/m", lab.files("f"))
    c = c.with_new_file("/mnt/m/sub/new", "n", owner="1000").without_file("/mnt/m/f")
    assert await lab.sh("cd /mnt/m; find . -type f; stat -c %u sub/new", c).stdout() == (
        "./sub/new\n1000\n"
    )
    assert await c.exists("/mnt/m/sub/new")
    assert not await c.without_mount("/mnt/m").exists("/mnt/m/sub/new")


async def test_owner_and_read_only_hold_for_a_mount(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/m", lab.files("f"), owner="1000:1000", read_only=True)
    c = lab.sh("stat -c %u /m /m/f; touch /m/f", c, expect=dagger.ReturnType.FAILURE)
    assert await c.stdout() == "1000\n1000\n"
    assert "Read-only file system" in await c.stderr()


async def test_a_folder_below_a_mount_can_be_the_working_folder(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/m", lab.files("sub/f")).with_workdir("/m/sub")
    assert await c.with_exec(["ls"]).stdout() == "f\n"
    assert await c.with_workdir("new/deep").with_exec(["pwd"]).stdout() == "/m/sub/new/deep\n"


async def test_a_cache_starts_with_its_source_and_owner(lab: Lab) -> None:
    volume = lab.dag.cache_volume(FRESH + "-source")
    cached = lab.base.with_mounted_cache(
        "/c", volume, source=lab.files("seed"), owner="1000:1000"
    ).with_user("1000")
    assert await lab.sh("touch /c/own; ls /c", cached).stdout() == "own\nseed\n"
    with pytest.raises(dagger.QueryError, match="cannot retrieve path from cache"):
        await cached.directory("/c").entries()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/c/f", "cannot retrieve path from cache"),
        ("/t/f", "cannot retrieve path from tmpfs"),
        ("/s", "/s: no such file or directory"),
    ],
)
async def test_what_only_commands_can_read_says_so(lab: Lab, path: str, error: str) -> None:
    mounted = (
        lab.base.with_mounted_cache("/c", lab.dag.cache_volume(FRESH))
        .with_mounted_temp("/t")
        .with_mounted_secret("/s", lab.dag.set_secret("only commands", "x"))
    )
    with pytest.raises(dagger.QueryError, match=error):
        await mounted.file(path).contents()


async def test_a_locked_cache_has_one_user_at_a_time(lab: Lab) -> None:
    volume = lab.dag.cache_volume(FRESH + "-locked")
    locked = dagger.CacheSharingMode.LOCKED
    cached = lab.base.with_mounted_cache("/c", volume, sharing=locked)
    script = "test ! -e /c/in && touch /c/in && sleep 0.4 && rm /c/in"
    async with anyio.create_task_group() as group:
        for number in range(3):
            branch = cached.with_env_variable("N", f"{number}{FRESH}")
            group.start_soon(lab.sh(script, branch).sync)


async def test_temporary_space_is_empty_for_every_command(lab: Lab) -> None:
    c = lab.sh("echo x > /scratch/f", lab.base.with_mounted_temp("/scratch", size=1 << 20))
    assert await lab.sh("ls -A /scratch; df -k /scratch | tail -1", c).stdout() != ""
    assert "1024" in await lab.sh("ls -A /scratch; df -k /scratch | tail -1", c).stdout()
    assert await lab.sh("ls -A /scratch", c).stdout() == ""


async def test_a_private_cache_is_another_volume_while_it_is_taken(lab: Lab) -> None:
    private = dagger.CacheSharingMode.PRIVATE
    volume, meeting = (lab.dag.cache_volume(f"{FRESH}-{name}") for name in ("private", "meeting"))
    cached = lab.base.with_mounted_cache("/c", volume, sharing=private)
    all_here = "touch /m/$N; timeout 60 sh -c 'until [ $(ls /m | wc -l) = 3 ]; do sleep 0.1; done'"
    script = f"test ! -e /c/in && touch /c/in && {all_here} && rm /c/in && touch /c/last"
    async with anyio.create_task_group() as group:
        for number in range(3):
            branch = cached.with_mounted_cache("/m", meeting).with_env_variable("N", str(number))
            group.start_soon(lab.sh(script, branch).sync)
    assert await lab.sh("ls /c", cached).stdout() == "last\n"  # the first volume, free again


async def test_a_locked_cache_is_locked_for_other_sessions_too(lab: Lab, session: Open) -> None:
    locked = dagger.CacheSharingMode.LOCKED
    script = "test ! -e /c/in && touch /c/in && sleep 0.5 && rm /c/in"

    def use(lab: Lab, number: int) -> dagger.Container:
        volume = lab.dag.cache_volume(FRESH + "-locked-elsewhere")
        c = lab.base.with_mounted_cache("/c", volume, sharing=locked)
        return lab.sh(script, c.with_env_variable("N", f"{number}{FRESH}"))

    async with session(lab.options) as other, anyio.create_task_group() as group:
        for number, each in enumerate((lab, other, lab, other)):
            group.start_soon(use(each, number).sync)


async def test_source_owner_and_sharing_make_another_cache_volume(lab: Lab) -> None:
    cache, locked = lab.dag.cache_volume(f"{FRESH}-identity"), dagger.CacheSharingMode.LOCKED
    first = lab.dag.directory().with_new_file("f", "1")
    script = "stat -c %u /c; ls /c; touch /c/seen"
    wanted: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["0"]),
        ({"source": first}, ["0", "f"]),
        ({"owner": "12:34"}, ["12"]),
        ({"source": first, "owner": "12:34"}, ["12", "f"]),
        ({"sharing": locked}, ["0"]),
    ]
    for number, (settings, expected) in enumerate(wanted):
        c = lab.base.with_env_variable("N", f"{FRESH}{number}")
        seen = await lab.sh(script, c.with_mounted_cache("/c", cache, **settings)).stdout()
        assert seen.split() == expected
    again = lab.base.with_env_variable("N", f"{FRESH}again")
    again = again.with_mounted_cache("/c", cache, source=first)
    assert (await lab.sh("ls /c", again).stdout()).split() == ["f", "seen"]


async def test_a_cache_volume_that_was_left_half_filled_is_filled(
    lab: Lab, client: docker.DockerClient
) -> None:
    name = f"{FRESH}-half"
    first = lab.dag.directory().with_new_file("a", "1").with_new_file("b", "2")
    cached = lab.base.with_mounted_cache("/c", lab.dag.cache_volume(name), source=first)
    taken = lab.sh("cat /c/a /c/b; rm /c/b", cached.with_env_variable("N", "1"))
    assert await taken.stdout() == "12"
    labels = {each.name: each.attrs["Labels"] or {} for each in client.volumes.list()}
    mine = {each for each, found in labels.items() if name in found.get("acso.engine.cache", "")}
    (mark,) = (each for each in mine if each.endswith("-filled"))
    assert mine == {mark, mark.removesuffix("-filled")}
    assert await lab.sh("ls /c", cached.with_env_variable("N", "2")).stdout() == "a\n"
    client.volumes.get(mark).remove()  # as if the process had been killed before the end
    assert await lab.sh("ls /c", cached.with_env_variable("N", "3")).stdout() == "a\nb\n"


async def test_a_mount_is_read_after_a_command_that_left_a_process(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/m", lab.files("f")).with_env_variable("N", FRESH)
    left = lab.sh("sleep 1000 & echo y > /m/g", c)
    assert await left.directory("/m").entries() == ["f", "g"]
    assert await lab.sh("cat /m/g", left).stdout() == "y\n"
