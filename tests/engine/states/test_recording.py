"""What a command left is the same recorded as a layer and committed: of every kind of change."""

import os
from dataclasses import replace
from pathlib import Path

import anyio
import dagger
import pytest

from ci import engine
from ci.engine.execution import recording
from ci.engine.execution.commands import Command
from ci.engine.execution.containers import StepContainer
from ci.engine.execution.recording import Recorder
from tests.engine.behaviours import Lab
from tests.engine.conftest import Open

pytestmark = pytest.mark.docker
FRESH = os.urandom(4).hex()
START = "set -e; "

#: Scripts of a chain that leave layers.
RECORDED = {
    "new files": "mkdir -p /w/d/e; echo 1 > /w/d/a; echo 2 > /w/d/e/f; ln -s a /w/d/l; mkfifo /w/p",
    "modes and owners": "chmod 4711 /w/d/a; chown 5:6 /w/d; chmod 700 /w/d/e",
    "a file of the image": "echo '# more' >> /etc/passwd",
    "a mode in the image": "chmod 600 /etc/group",
    "a time in the image": "touch -d @5 /etc/shells",
    "an owner in the image": "chown 7:8 /etc/skel",
    "a file written again": "echo 3 > /w/d/a",
    "a file that looks older": "echo 4 > /w/d/a; touch -d @5 /w/d/a",
    "a renamed directory": "mv /w/d /w/renamed",
    "a removed directory of the image": "rm -r /etc/security",
    "a directory of the image again": "rm -r /etc/skel; mkdir /etc/skel; echo > /etc/skel/new",
    "two directories": "mkdir -p /w/s/a /w/s/b; echo a > /w/s/a/x; echo b > /w/s/b/x",
    "the two exchanged": "cd /w/s; mv a t; mv b a; mv t b",
    "a link to a directory in its place": "cd /w/s; mv a c; ln -s c a; echo c > a/x",
    "a directory in place of the link": "cd /w/s; rm a; mkdir a; echo z > a/z",
    "a file in place of the directory": "cd /w/s; rm -r a; echo f > a",
    "a file moved from a directory": "mv /w/s/b/x /w/moved",
    "a directory made again with its file": "cd /w/s; mv c/x .; rm -r c; mkdir c; mv x c",
    "names": "cd /w; mkdir 'a b' \"it's\"; touch \"it's/ü\" 'a b/$(x)' ./-name",
    "removed names": "cd /w; rm -r 'a b' ./-name",
    "a capability": """python3 -c 'import os, struct
os.setxattr("/w/moved", "security.capability", struct.pack("<5I", 0x2000001, 1 << 10, 0, 0, 0))'""",
    "nothing": "true",
    "nothing that stays": "mkdir /w/x; touch /w/x/y; rm -r /w/x",
}
#: Scripts after those, for which a container is committed.
COMMITTED = {
    "hard links": "ln /w/moved /w/hard",
    "a device": "mknod /w/null c 1 3",
    "the root": "chmod 711 /",
    "a name that is not UTF-8": "touch \"$(printf '/w/\\377')\"",
    "many files": "mkdir /w/many; cd /w/many; touch $(seq 100)",
    "a large file": "head -c 20000000 /dev/zero > /w/large",
}
#: Scripts after those: again layers, in a container that may have been committed.
AFTERWARDS = {
    "one name of a file removed": "rm /w/moved",
    "a file among many": "rm /w/many/7; echo more > /w/many/8",
}
#: The last one: from then on the container is committed.
LAST = {
    "names of two lines": "mkdir '/w/t\nt'; touch '/w/t\nt/f' '/w/n\n'",
}

LIST = """
import hashlib, os, stat
OTHERS = {"/etc/hosts", "/etc/hostname", "/etc/mtab", "/etc/resolv.conf"}  # of a container
def show(path):
    s = os.lstat(path)
    regular, link = stat.S_ISREG(s.st_mode), stat.S_ISLNK(s.st_mode)
    text = hashlib.sha256(open(path, "rb").read()).hexdigest() if regular else ""
    names = os.listxattr(path, follow_symlinks=False)
    attributes = {n: os.getxattr(path, n, follow_symlinks=False) for n in names}
    time = not stat.S_ISDIR(s.st_mode) and int(s.st_mtime)  # a layer may be without a directory
    print(ascii(path), oct(s.st_mode), s.st_uid, s.st_gid, time, s.st_nlink > 1 and regular,
         os.readlink(path) if link else text, attributes)
    if stat.S_ISDIR(s.st_mode) and path != "/":
        for name in sorted(os.listdir(path)):
            if f"{path}/{name}" not in OTHERS:
                show(f"{path}/{name}")
for root in "/w", "/etc":
    show(root)
"""


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record changes on each container engine; return the scripts that are committed instead."""
    found: list[str] = []
    commit = Recorder._commit

    async def seen(self: Recorder, container: StepContainer, command: Command, **more: str) -> str:
        found.append(command.args[-1])
        return await commit(self, container, command, **more)

    monkeypatch.setattr(Recorder, "_commit", seen)
    monkeypatch.setattr(recording, "commits_slowly", lambda daemon: not daemon.podman)
    return found


def chain(lab: Lab) -> list[tuple[str, dagger.Container, dagger.Container]]:
    """Return what each script is, the container after it and the one after its listing."""
    listed = lab.base.with_env_variable("FRESH", FRESH).with_directory("/w", lab.dag.directory())
    found = []
    for name, script in (RECORDED | COMMITTED | AFTERWARDS | LAST).items():
        c = lab.sh(START + script, listed)
        listed = c.with_exec(["python3", "-c", LIST])
        found.append((name, c, listed))
    return found


async def test_every_kind_of_change_is_the_same_in_a_new_container(
    options: engine.Options, session: Open, committed: list[str], tmp_path: Path
) -> None:
    own = replace(options, cache_dir=tmp_path)
    live: dict[str, str] = {}
    resumed: dict[str, str] = {}
    async with session(own) as lab:
        for name, _, listed in chain(lab):
            live[name] = await listed.stdout()
    if committed:  # not on Podman
        scripts = [each.removeprefix(START) for each in committed if each.startswith(START)]
        assert scripts == [*(COMMITTED | LAST).values()]
    async with session(own) as lab, anyio.create_task_group() as group:

        async def look(name: str, c: dagger.Container) -> None:
            resumed[name] = await c.with_exec(["python3", "-c", LIST, "resumed"]).stdout()

        for name, c, _ in chain(lab):
            group.start_soon(look, name, c)
    for name, listing in live.items():
        assert resumed[name].splitlines() == listing.splitlines(), name


async def test_edits_before_a_command_are_not_what_it_left(
    options: engine.Options,
    session: Open,
    committed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(recording, "MAX_RECORDED", 100)
    own = replace(options, cache_dir=tmp_path)

    def edited(lab: Lab) -> dagger.Container:
        c = lab.base.with_env_variable("FRESH", FRESH)
        for number in range(120):
            c = c.with_new_file(f"/w/d{number % 3}/{number}", str(number))
        c = lab.sh("cd /w; rm d0/0; echo 1 > d0/new; chmod 700 d1; echo 2 > /etc/new", c)
        c = c.with_new_file("/w/d0/later", "later").with_new_file("/w/e/f/gone", "gone")
        c = lab.sh("rm -r /w/d1 /w/e", c).without_file("/w/d0/3")
        return c.with_exec(["python3", "-c", LIST])

    async with session(own) as lab:
        c = edited(lab)
        live = await c.stdout()
        assert await c.directory("/w").entries() == ["d0/", "d2/"]
        assert await c.directory("/w/d0").glob("*e*") == ["later", "new"]
    assert not committed
    async with session(own) as lab:
        c = edited(lab).with_exec(["python3", "-c", LIST, "resumed"])
        assert (await c.stdout()).splitlines() == live.splitlines()
