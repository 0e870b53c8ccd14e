"""Directories and files: in tables, in containers, out of them."""

import time
from typing import Any

import dagger
import pytest

from ci.engine.files import rootfs
from tests.engine.behaviours import Behaviours, Lab, Shows

pytestmark = pytest.mark.docker
behaviour = Behaviours()


@behaviour("640 1000 1001 1\n")
async def a_new_file_has_the_mode_and_owner_given(lab: Lab) -> Any:
    c = lab.base.with_new_file("/f", "x", permissions=0o640, owner="1000:1001")
    return await c.with_exec(["stat", "-c", "%a %u %g %s", "/f"]).stdout()


@behaviour(["12345", 5, "n.txt"])
async def a_file_tells_contents_size_and_name(lab: Lab) -> Any:
    file = lab.dag.directory().with_new_file("d/n.txt", "12345").file("d/n.txt")
    return [await file.contents(), await file.size(), await file.name()]


@behaviour(True)
async def a_missing_file_is_an_error_that_says_so(lab: Lab) -> Any:
    with pytest.raises(dagger.QueryError) as caught:
        await lab.dag.directory().file("nope").contents()
    return "no such file" in str(caught.value)


@behaviour([["a/", "b", "e/"], ["c"], ["c"]])
async def directories_are_listed_with_a_slash(lab: Lab) -> Any:
    d = lab.files("b", "a/c").with_new_directory("e")
    return [await d.entries(), await d.entries(path="a"), await d.directory("a").entries()]


@behaviour([["a.py"], ["a.py", "b/c.py", "b/e/f.py"], ["b/c.py", "b/d.txt", "b/e/"]])
async def a_star_stays_in_its_directory_and_two_do_not(lab: Lab) -> Any:
    d = lab.files("a.py", "b/c.py", "b/d.txt", "b/e/f.py")
    return [sorted(await d.glob(pattern)) for pattern in ("*.py", "**/*.py", "b/*")]


@behaviour(
    [
        ["a.py", "s/", "s/b.py", "t/", "t/d.py"],
        ["a.py", "s/", "s/b.py"],
        ["s/", "s/b.py"],
        [".git/", ".git/x", "a.py", "a.txt", "s/", "s/b.py", "t/", "t/d.py"],
    ]
)
async def include_and_exclude_choose_what_is_copied(lab: Lab) -> Any:
    d = lab.files("a.py", "a.txt", "s/b.py", "s/c.txt", "t/d.py", ".git/x")
    choices: list[dict[str, Any]] = [
        {"include": ["**/*.py"]},
        {"exclude": ["**/*.txt", "t", ".git"]},
        {"include": ["s"], "exclude": ["**/*.txt"]},
        {"exclude": ["s/*", "!s/b.py"]},
    ]
    copies = [lab.dag.directory().with_directory("/", d, **choice) for choice in choices]
    return [sorted(await copy.glob("**/*")) for copy in copies]


@behaviour([["f", "g", "k"], "2", "keep"])
async def directories_merge_and_files_replace(lab: Lab) -> Any:
    below = lab.dag.directory().with_new_file("f", "1").with_new_file("k", "keep")
    above = lab.dag.directory().with_new_file("f", "2").with_new_file("g", "3")
    m = below.with_directory("/", above)
    return [await m.entries(), await m.file("f").contents(), await m.file("k").contents()]


@behaviour([True, False, True])
async def a_digest_is_of_the_content_however_it_came_about(lab: Lab) -> Any:
    def one(text: str) -> dagger.Directory:
        return lab.dag.directory().with_new_file("f", text)

    way = lab.dag.directory().with_new_file("g", "1").without_file("g").with_new_file("f", "1")
    first = await one("1").digest()
    return [first == await d.digest() for d in (one("1"), one("2"), way)]


@behaviour("ran\n")
async def permissions_survive_the_way_into_a_container(lab: Lab) -> Any:
    script = "#!/bin/sh\necho ran"
    d = lab.dag.directory().with_new_file("run.sh", script, permissions=0o755)
    return await lab.base.with_directory("/app", d).with_exec(["/app/run.sh"]).stdout()


@behaviour("hi")
async def links_survive_the_way_into_a_container(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("t", "hi").with_symlink("t", "l")
    return await lab.base.with_directory("/i", d).with_exec(["cat", "/i/l"]).stdout()


@behaviour("1000:1000 /o\n1000:1000 /o/f\n")
async def an_owner_holds_for_all_that_is_copied(lab: Lab) -> Any:
    c = lab.base.with_directory("/o", lab.files("f"), owner="1000:1000")
    return await c.with_exec(["stat", "-c", "%u:%g %n", "/o", "/o/f"]).stdout()


@behaviour([["s/", "s/1", "s/2", "s/3"], "600\n"])
async def a_directory_comes_out_and_goes_into_another_container(lab: Lab) -> Any:
    script = "mkdir -p /o/s; for i in 1 2 3; do echo $i > /o/s/$i; done; chmod 600 /o/s/2"
    d = lab.sh(script).directory("/o")
    mode = await lab.base.with_directory("/p", d).with_exec(["stat", "-c", "%a", "/p/s/2"]).stdout()
    return [sorted(await d.glob("**/*")), mode]


@behaviour(["a", "b"])
async def several_files_go_in_at_once(lab: Lab) -> Any:
    d = lab.dag.directory().with_new_file("a", "1").with_new_file("b", "2")
    return await lab.base.with_files("/in", [d.file("a"), d.file("b")]).directory("/in").entries()


@behaviour([True, True, False])
async def a_container_tells_whether_a_path_exists(lab: Lab) -> Any:
    c = lab.base.with_new_file("/q/w", "")
    return [await c.exists(path) for path in ("/q/w", "/q", "/nope")]


@behaviour(["m", True])
async def the_root_is_a_directory_like_others(lab: Lab) -> Any:
    r = lab.base.with_new_file("/marker", "m").rootfs()
    return [await r.file("marker").contents(), "etc" in " ".join(await r.entries())]


@behaviour([51200000, "ae5e4a0252a0fc0a5a06acf7ac1c981850708c263bdcdc6bfaa1621aeb5c5f98  /i/big\n"])
async def fifty_megabytes_travel_unchanged(lab: Lab) -> Any:
    script = "open('/big','wb').write(bytes(range(256))*200000)"
    file = lab.base.with_exec(["python3", "-c", script]).file("/big")
    d = lab.dag.directory().with_file("big", file)
    c = lab.base.with_directory("/i", d).with_exec(["sha256sum", "/i/big"])
    return [await file.size(), await c.stdout()]


@behaviour.cases()
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
@pytest.mark.parametrize("most", [rootfs.MAX_LAYERS, 1])
async def test_a_name_that_was_created_and_removed_is_not_listed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(rootfs, "MAX_LAYERS", most)
    monkeypatch.setattr(rootfs, "KEPT_LAYERS", 1)
    new = f"/new{most}"
    c = (
        lab.base.with_new_file(f"{new}/a", "")
        .with_new_file(f"{new}/b", "")
        .without_file(f"{new}/a")
    )
    assert await c.with_exec(["ls", new]).stdout() == "b\n"


async def test_edits_reach_a_live_container_and_deletions_a_new_one(lab: Lab) -> None:
    c = lab.sh("mkdir -p /w/deep; echo old > /w/a; echo stay > /w/deep/b")
    c = lab.sh("cat /w/a /w/n", c.with_new_file("/w/a", "new\n").with_new_file("/w/n", "n\n"))
    assert await c.stdout() == "new\nn\n"
    c = c.without_file("/w/n").without_directory("/w/deep")
    assert await lab.sh("find /w", c).stdout() == "/w\n/w/a\n"
    assert await c.directory("/w").entries() == ["a"]


async def test_links_of_the_image_are_followed_not_replaced(lab: Lab) -> None:
    c = lab.base.with_new_file("/lib/acso/here", "x")  # /lib is a link in a Debian image
    c = lab.sh("test -L /lib && cat /usr/lib/acso/here; ls /lib/os-release", c)
    assert await c.stdout() == "x/lib/os-release\n"


async def test_directories_that_exist_take_the_mode_and_owner_of_a_copy(lab: Lab) -> None:
    d = lab.dag.directory().with_new_directory("tmp", permissions=0o750).with_new_file("tmp/f", "x")
    c = lab.base.with_directory("/", d, owner="1000:1000")
    c = c.with_exec(["stat", "-c", "%a %u", "/tmp", "/tmp/f"])
    assert await c.stdout() == "750 1000\n644 1000\n"


async def test_owners_by_name_are_the_containers(lab: Lab) -> None:
    c = lab.base.with_new_file("/f", "", owner="nobody:daemon")
    assert await c.with_exec(["stat", "-c", "%U:%G", "/f"]).stdout() == "nobody:daemon\n"
    with pytest.raises(dagger.QueryError, match="no such user: 'ghost' is not in /etc/passwd"):
        await lab.base.with_new_file("/f", "", owner="ghost").sync()
    with pytest.raises(dagger.QueryError, match="no such group: 'ghost' is not in /etc/group"):
        await lab.base.with_new_file("/f", "", owner="nobody:ghost").sync()


async def test_owners_by_name_are_those_of_the_files_that_change(lab: Lab) -> None:
    c = lab.base.with_new_file("/etc/passwd", "zoe:x:1234:5:::\n")
    c = c.with_new_file("/etc/group", "team:x:4321:\n").with_new_file("/d/f", "")
    for changed in (
        c.with_new_file("/g", "", owner="zoe:team").with_exec(["stat", "-c", "%u %g", "/g"]),
        c.with_directory("/d", lab.files("g"), owner="zoe:team").with_exec(
            ["stat", "-c", "%u %g", "/d/g"]
        ),
        lab.base.with_directory("/r", c.rootfs().chown("d", "zoe:team")).with_exec(
            ["stat", "-c", "%u %g", "/r/d/f"]
        ),
    ):
        assert await changed.stdout() == "1234 4321\n"
    d = lab.dag.directory().with_new_file("f", "").chown("/", "7")
    assert (
        await lab.sh("stat -c '%u %g' /x/f", lab.base.with_directory("/x", d)).stdout() == "7 7\n"
    )


async def test_gitignore_leaves_out_what_git_would(lab: Lab) -> None:
    d = lab.files("a.pyc", "keep.pyc", "build/x", "src/build", "src/b.pyc")
    d = d.with_new_file(".gitignore", "*.pyc\n!keep.pyc\nbuild/\n")
    found = await d.filter(gitignore=True).glob("**/*")
    assert sorted(found) == [".gitignore", "keep.pyc", "src/", "src/build"]


async def test_odd_names_survive(lab: Lab) -> None:
    names = ["a b", "ü☃", "-rf", "*", "new\nline", "x" * 150]
    d = lab.files(*names)
    c = lab.base.with_directory("/odd", d)
    assert sorted(await lab.sh("true", c).directory("/odd").entries()) == sorted(names)


async def test_a_difference_holds_what_is_new_or_changed(lab: Lab) -> None:
    before = lab.files("same", "d/same").with_new_file("d/changed", "1")
    after = before.with_new_file("d/changed", "2").with_new_file("new", "")
    assert sorted(await before.diff(after).glob("**/*")) == ["d/", "d/changed", "new"]


async def test_a_root_of_ones_own_needs_no_shell(lab: Lab) -> None:
    # The dynamic loader runs by itself: the smallest program that every image has.
    loader = lab.base.file("/lib64/ld-linux-x86-64.so.2")
    root = lab.files("only/this").with_file("bin/ld", loader)
    c = lab.base.with_rootfs(root)
    assert await c.rootfs().entries() == ["bin/", "only/"]
    said = c.with_exec(["/bin/ld", "--help"])
    assert "program interpreter" in await said.stdout()
    with pytest.raises(dagger.ExecError) as caught:
        await said.with_exec(["/bin/sh"]).sync()
    assert caught.value.exit_code == 1


async def test_times_are_those_of_creation_unless_asked_for(lab: Lab) -> None:
    d, before = lab.files("plain", "d/dated"), int(time.time())
    c = lab.base.with_directory("/p", d).with_directory("/t", d.with_timestamps(1234567890))
    script = "stat -c %Y /p/plain /t/plain /t/d /t/d/dated"
    plain, *dated = map(int, (await lab.sh(script, c).stdout()).split())
    assert before <= plain <= time.time()
    assert dated == [1234567890] * 3


async def test_permissions_have_the_defaults_of_the_api(lab: Lab) -> None:
    d = lab.dag.directory().with_new_file("a/f", "").with_new_directory("e")
    d = d.with_new_directory("p", permissions=0o700)
    c = lab.base.with_directory("/d", d)
    said = await lab.sh("cd /d; stat -c '%a %n' a a/f e p", c).stdout()
    assert said == "755 a\n644 a/f\n644 e\n700 p\n"


async def test_a_link_is_removed_itself_and_read_through(lab: Lab) -> None:
    c = lab.sh("mkdir /r; echo x > /r/f; ln -s /r /way; ln -s f /r/l")
    assert await c.file("/way/l").contents() == "x\n"
    assert await c.exists("/way", expected_type=dagger.ExistsType.SYMLINK_TYPE)
    c = c.without_file("/r/l").without_file("/way")
    assert await c.directory("/r").entries() == ["f"]
    assert not await c.exists("/way")
    d = lab.dag.directory().with_new_file("f", "x").with_symlink("f", "l").without_file("l")
    assert await d.entries() == ["f"]


async def test_a_path_that_goes_up_stays_below_the_root(lab: Lab) -> None:
    d = lab.dag.directory().with_new_file("../../up", "x").with_symlink("../../../etc", "out")
    assert await d.entries() == ["out", "up"]
    with pytest.raises(dagger.QueryError, match="no such file"):
        await d.file("out/passwd").contents()
    c = lab.base.with_new_file("/a/../../b", "y")
    assert await c.file("/b").contents() == "y"


async def test_many_files_come_out_of_a_container_and_go_in_again(lab: Lab) -> None:
    script = "import pathlib\nfor n in range(4000): pathlib.Path(f'/m/{n % 40}').mkdir(parents=True"
    script += ", exist_ok=True); pathlib.Path(f'/m/{n % 40}/{n}').write_text(str(n))"
    d = lab.base.with_exec(["python3", "-c", script]).directory("/m")
    assert len(await d.glob("*/*")) == 4000
    c = lab.base.with_directory("/again", d)
    assert await lab.sh("find /again -type f | wc -l; cat /again/7/47", c).stdout() == "4000\n47"


async def test_a_text_is_replaced_where_it_is_there(lab: Lab) -> None:
    file = lab.dag.file("f", "a b a")
    assert await file.with_replaced("b", "c").contents() == "a c a"
    assert await file.with_replaced("a", "x", all=True).contents() == "x b x"
    assert await file.with_replaced("z", "x", all=True).contents() == "a b a"
    with pytest.raises(dagger.QueryError, match=r"found multiple times: line 1, line 1"):
        await file.with_replaced("a", "x").contents()
    with pytest.raises(dagger.QueryError, match="search string not found: 'z'"):
        await file.with_replaced("z", "x").contents()
    lines = lab.dag.file("f", "a\na\na\n")
    assert await lines.with_replaced("a", "x", first_from=2).contents() == "a\nx\na\n"
