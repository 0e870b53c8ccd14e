"""Where a path leads: one rule for directories, containers and mounts; edits in their order."""

import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import dagger
import docker
import pytest

from ci import engine
from ci.engine.files import rootfs
from tests.containers import output_of
from tests.engine.behaviours import IMAGE, Behaviours, Lab, Shows
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker
behaviour = Behaviours()
ERROR = "error"


async def answered(asked: Any) -> Any:
    """Return an answer, or that it is an error."""
    try:
        return await asked
    except dagger.QueryError:
        return ERROR


# --- directories: no container runs -----------------------------------------------------------
@behaviour([ERROR, ERROR, ERROR, ERROR, ["a"], ["a"], ["a"], ["a/", "a/b"], ["b"], ["a/", "a/b"]])
async def a_new_file_is_where_its_path_leads(lab: Lab) -> Any:
    paths = ("", ".", "/", "a/..", "..//a", "a/", "../a", "/a//b", "a/../b", "./a/./b")
    return [await answered(lab.dag.directory().with_new_file(p, "x").glob("**")) for p in paths]


@behaviour([["f"], ["f"], ["f"], ["n/", "n/f"], ["n/", "n/m"], ["d/", "d/f"], ERROR])
async def a_file_goes_into_a_directory_and_replaces_a_name(lab: Lab) -> Any:
    file, d = lab.dag.file("f", "x"), lab.dag.directory()
    made = [d.with_file(path, file) for path in ("", ".", "/", "n/", "n/m")]
    made += [d.with_new_directory("d").with_file("d", file)]
    made += [d.with_new_file("t", "").with_file("t/", file)]
    return [await answered(each.glob("**")) for each in made]


@behaviour([["1", "2", "l", "t"], "2"])
async def a_new_file_is_written_through_a_link(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("t", "1").with_symlink("t", "l").with_new_file("l", "2")
    d = d.with_symlink("1", "2").with_new_file("2", "")
    return [await d.entries(), await d.file("t").contents()]


@behaviour([ERROR, ERROR, ERROR, ERROR, ERROR, ["x/", "x/y/", "x/y/l"]])
async def a_link_never_replaces_anything(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("f", "").with_symlink("a", "l")
    made = [d.with_symlink("b", path) for path in ("f", "l", "", ".", "f/x")]
    made += [lab.dag.directory().with_symlink("b", "x/y/l")]
    return [await answered(each.glob("**")) for each in made]


@behaviour([["1", "x"], ["1", "[q]", "a/", "q", "x"], ["[q]", "a/", "q", "x"], ERROR])
async def only_a_star_is_a_wildcard_in_what_is_removed(lab: Lab) -> Any:
    d = lab.files("1", "x", "[q]", "q", "a/1").with_new_file("a/b", "")
    made = [
        d.without_files(["a/*", "a", "[q]", "q"]),
        d.without_file("?").without_directory("a/b/"),
        d.without_file("*/b").without_file("1"),
        d.without_file("x/y"),
    ]
    return [await answered(each.entries()) for each in made]


@behaviour([["app/", "app/i/", "app/i/page"], ["n"]])
async def a_removed_directory_is_named_literally(lab: Lab) -> Any:
    d = lab.files("app/[id]/page", "app/i/page").without_directory("app/[id]")
    emptied = lab.files("a/b").without_directory("a").with_new_file("n", "")
    return [await d.glob("**"), await emptied.glob("**")]


@behaviour([ERROR, ERROR, ERROR, ERROR, 4096, ERROR, 2])
async def what_no_file_system_has_is_an_error(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_directory("b")
    return [
        await answered(d.with_new_file("x" * 256, "").sync()),
        await answered(d.with_new_directory("b/" + "ä" * 128).sync()),
        await answered(d.directory("b").with_new_directory("../c").entries()),
        await answered(d.with_new_file("a", "").with_new_file("a/b", "").glob("**")),
        await answered(d.stat("b").size()),
        await answered(d.stat("").name()),
        len(await d.with_new_file("ä" * 127, "").entries()),
    ]


@behaviour([0o751, 0o751, 0o751])
async def permissions_reach_all_that_is_copied(lab: Lab) -> Any:
    source = lab.dag.directory().with_new_directory("n", permissions=0o700)
    source = source.with_new_file("n/f", "x", permissions=0o600)
    d = lab.dag.directory().with_directory("out", source, permissions=0o751)
    return [await d.stat(path).permissions() for path in ("out", "out/n", "out/n/f")]


@behaviour([["x/"], ["d/"], ["l"], []])
async def kind_and_mode_are_differences(lab: Lab) -> Any:
    def made(mode: int) -> dagger.Directory:
        return lab.dag.directory().with_new_directory("d", permissions=mode)

    before = made(0o755).with_new_file("x", "1")
    others = [
        made(0o755).with_new_directory("x"),
        made(0o700).with_new_file("x", "1"),
        before.with_symlink("x", "l"),
        before,
    ]
    return [await before.diff(each).glob("**") for each in others]


@behaviour([["f", "l"], ERROR, ERROR, ERROR])
async def times_are_set_through_links(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("f", "").with_symlink("f", "l")
    made = [d, d.with_symlink("no", "m"), d.with_symlink("/f", "m"), d.with_symlink("m", "m")]
    return [await answered(each.with_timestamps(5).glob("**")) for each in made]


@behaviour("a\fb\nc\u2028d\n")
async def lines_end_with_newlines_only(lab: Lab) -> Any:
    return await lab.dag.file("x", "a\fb\nc\u2028d\ne\n").contents(limit_lines=2)


@behaviour([[], []])
async def nothing_is_in_an_empty_container(lab: Lab) -> Any:
    empty = lab.dag.container()
    return [await empty.rootfs().entries(), await empty.directory("/").entries()]


@behaviour(["300", "130"])
async def chains_have_any_length(lab: Lab) -> Any:
    c, d = lab.dag.container(), lab.dag.directory()
    for number in range(301):
        c = c.with_env_variable(f"V{number}", str(number))
    for number in range(130):
        d = d.with_new_file(f"e/{number}", "")
    return [await c.env_variable("V300"), str(len(await d.entries(path="e")))]


# --- containers -------------------------------------------------------------------------------
@behaviour(["l t \n1", "d/f", "n/l"])
async def a_container_replaces_a_link_and_follows_those_on_the_way(lab: Lab) -> Any:
    c = lab.sh("mkdir -p /q/d; cd /q; echo 1 > t; ln -s t l; ln -s d ld; ln -s no/where dang")
    over = c.with_new_file("/q/l", "2")
    listed = lab.sh("cd /q; find l t -type f | tr '\\n' ' '; echo; cat t", over)
    into = lab.sh("cd /q; find d -type f", c.with_file("/q/ld/", lab.dag.file("f", "")))
    link = lab.sh("cd /q; find . -name l | grep n/", c.with_symlink("x", "/q/n/l"))
    said = [await each.stdout() for each in (listed, into, link)]
    return [text.strip().removeprefix("./") for text in said]


@behaviour([[], ["f"], ["f", "n"], ERROR])
async def a_mount_point_that_is_removed_ends_its_mount(lab: Lab) -> Any:
    file, content = lab.dag.file("f", "2"), lab.files("f")
    c = lab.base.with_file("/q/f", lab.dag.file("f", "1"))
    mounted = c.with_mounted_file("/q/f", file)
    directory = c.with_mounted_directory("/q", content)
    return [
        await mounted.without_file("/q/f").directory("/q").entries(),
        await directory.without_mount("/q").directory("/q").entries(),
        await directory.with_new_file("/q/n", "").directory("/q").entries(),
        await answered(mounted.with_new_file("/q/f/x", "").sync()),
    ]


@behaviour([[], "130\n"])
async def an_edit_is_a_layer_and_a_command_without_a_change_is_none(lab: Lab) -> Any:
    c = lab.base
    for number in range(130):
        c = c.with_new_file(f"/e/{number}", "")
    ran = lab.base.with_exec(["true"])
    return [
        await lab.base.directory("/etc").diff(ran.directory("/etc")).entries(),
        await lab.sh("ls /e | wc -l", c).stdout(),
    ]


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8, built from its source, on 2026-11-25."""
    assert await shows(lab) == answer


# --- beyond what was recorded -------------------------------------------------------------------
@pytest.mark.parametrize("path", [".", "", "/", "..", "a/.."])
async def test_the_root_of_a_directory_is_emptied(lab: Lab, path: str) -> None:
    # A Dagger engine fails: it cannot remove the directory in which it has mounted the files.
    assert await lab.files("a/b").without_directory(path).with_new_file("n", "").glob("**") == ["n"]


@pytest.mark.parametrize("order", ["one two one", "one one two", "two one two"])
async def test_the_last_edit_of_a_file_is_in_its_image(lab: Lab, order: str) -> None:
    c = lab.sh("rm -f /f; mkdir -p /q")
    for text in order.split():
        c = c.with_new_file("/f", text).without_file("/q/f").with_new_file("/q/f", text)
    c = c.without_file("/q/f")
    assert await c.file("/f").contents() == order.rsplit(maxsplit=1)[-1]
    assert await lab.sh("cat /f; ls /q", c).stdout() == order.rsplit(maxsplit=1)[-1]


async def test_an_image_with_many_layers_is_squashed(
    lab: Lab, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = len(client.images.get(lab.options.images[IMAGE]).attrs["RootFS"]["Layers"])
    monkeypatch.setattr(rootfs, "KEPT_LAYERS", below + 1)
    monkeypatch.setattr(rootfs, "MAX_LAYERS", below + 3)  # Docker allows 125
    c = lab.sh("mkdir /deep /turned; echo 1 > /deep/first; touch /deep/gone /turned/x")
    c = lab.sh("rm -r /turned; touch /turned", c)
    for number in range(3):  # each in an image of its own
        c = c.with_new_file(f"/deep/{number}", "").with_exec(["touch", f"/deep/{number}.ran"])
    c = lab.sh("rm /deep/gone /turned; mkdir /turned", c).with_new_file("/deep/last", "")
    said = await lab.sh("ls -x /deep; cat /deep/first; ls /turned", c).stdout()
    assert said.split() == [*["0", "0.ran", "1", "1.ran", "2", "2.ran", "first", "last"], "1"]
    name = f"acso-squashed:{INSTANCE}"
    await lab.keep(c, name)
    try:
        layers = client.images.get(name).attrs["RootFS"]["Layers"]
    finally:
        client.images.remove(name)
    assert len(layers) <= below + 3


async def test_levelled_files_are_the_same_layers_in_every_cache(
    options: engine.Options, session: Open, client: docker.DockerClient, tmp_path: Path
) -> None:
    async def layers(cache: str) -> list[str]:
        async with session(replace(options, cache_dir=tmp_path / cache)) as lab:
            script = "mkdir /v; echo x > /v/f; find /v -exec touch -h -d @315532800 {} +"
            c = lab.base.with_directory("/opt/v", lab.sh(script).directory("/v"))
            c = c.with_directory("/app", lab.files("a", "b/c").with_timestamps(315532800))
            name = f"acso-levelled-{cache}:{INSTANCE}"
            await lab.keep(c, name)
            try:
                return list(client.images.get(name).attrs["RootFS"]["Layers"])
            finally:
                client.images.remove(name)

    first, began = await layers("one"), int(time.time())
    with anyio.fail_after(10):
        while int(time.time()) == began:  # noqa: ASYNC110 (nothing reports a new second)
            await anyio.sleep(0.05)
    assert await layers("other") == first


async def test_an_exported_image_is_its_users_alone_and_docker_loads_it(
    lab: Lab, tmp_path: Path, client: docker.DockerClient
) -> None:
    await lab.base.with_new_file("/x", "1").export(str(tmp_path / "i.tar"))
    assert (tmp_path / "i.tar").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "i.tar") as tar:
        top = {name for name in tar.getnames() if "/" not in name}
    assert {"index.json", "manifest.json", "oci-layout"} <= top
    with (tmp_path / "i.tar").open("rb") as file:
        (loaded,) = client.images.load(file)
    try:
        assert output_of(client, str(loaded.id), ["cat", "/x"]) == b"1"
    finally:
        client.api.remove_image(str(loaded.id), force=True)


async def test_names_of_one_file_stay_so_on_the_way_through_a_container(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a").write_text("1")
    (tmp_path / "from/b").hardlink_to(tmp_path / "from/a")
    d = lab.dag.host().directory(str(tmp_path / "from"))
    c = lab.base.with_directory("/q", d)
    c = lab.sh("stat -c %h /q/a; echo 2 > /q/n; ln /q/n /q/m; ln /q/n /q/l", c)
    assert await c.stdout() == "2\n"
    await c.directory("/q").export(str(tmp_path / "to"))
    names = {name: (tmp_path / "to" / name).stat().st_nlink for name in "ablmn"}
    assert names == {"a": 2, "b": 2, "l": 3, "m": 3, "n": 3}


CHURN = """
import os, sys
while True:
    for number in range(200):
        open(f"{sys.argv[1]}/{number}", "w").close()
    for number in range(200):
        os.unlink(f"{sys.argv[1]}/{number}")
"""


async def test_a_host_directory_whose_files_come_and_go_is_read(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("1")
    churn = await anyio.open_process([sys.executable, "-c", CHURN, str(tmp_path)])
    try:
        for _ in range(30):
            d = lab.dag.host().directory(str(tmp_path), no_cache=True)
            assert await d.file("keep").contents() == "1"
    finally:
        churn.kill()
        await churn.aclose()


async def test_a_large_file_is_exported_and_not_returned_as_text(lab: Lab) -> None:
    big = lab.sh("head -c 134217729 /dev/zero > /big").file("/big")
    with pytest.raises(dagger.QueryError, match="exceeds limit 134217728"):
        await big.contents()
    assert await big.size() == 134217729
