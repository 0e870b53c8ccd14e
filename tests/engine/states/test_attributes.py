"""What changes the result of a step changes its key: one attribute at a time of a random step.

The step prints all that a command can see. If two steps had the same key, the second one would
print what the first one saw.
"""

import os
from collections.abc import Callable
from typing import Any

import anyio
import dagger
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ci import engine
from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker
#: Steps tried by the test with the marker `matrix`.
MANY = int(os.environ.get("ACSO_STEPS", "40"))

SEE = """
import hashlib, os, stat, sys
def seen(path):
    s = os.lstat(path)
    dated = s.st_mtime if s.st_mtime < 10 else ""
    yield f"{path} {s.st_mode:o} {s.st_uid}:{s.st_gid} {s.st_nlink > 1} {dated}"
    if stat.S_ISLNK(s.st_mode):
        yield os.readlink(path)
    elif stat.S_ISREG(s.st_mode):
        yield hashlib.sha256(open(path, "rb").read()).hexdigest()
    else:
        fs = os.statvfs(path)
        yield f"read-only {fs.f_flag & 1} size {fs.f_blocks * fs.f_frsize < 1 << 21}"
        for name in sorted(os.listdir(path)):
            yield from seen(f"{path}/{name}")
variables = {k: hashlib.sha256(v.encode()).hexdigest() for k, v in os.environ.items()}
print(sys.argv[1:], sorted(variables.items()), os.getuid(), os.getgid(), os.getcwd(),
    sys.stdin.read(), *(line for root in ("/x", "/s1", "/s2") if os.path.lexists(root)
        for line in seen(root)), sep="\\n")
"""

#: Adds one attribute in one of two ways: client, container and the options of its last command.
Attribute = Callable[[dagger.Client, dagger.Container, dict[str, Any], int], dagger.Container]


def files(dag: dagger.Client, **options: Any) -> dagger.Directory:
    """Return a directory with one file."""
    return dag.directory().with_new_file("f", "x", **options)


def owner(value: int) -> str:
    return ("0", "1000:7")[value]


def on_command(name: str, *values: Any) -> Attribute:
    """Return an attribute of the command itself."""

    def add(
        _dag: dagger.Client, c: dagger.Container, options: dict[str, Any], value: int
    ) -> dagger.Container:
        options[name] = values[value]
        return c

    return add


def on_files(make: Callable[[dagger.Client, dagger.Container, int], dagger.Container]) -> Attribute:
    """Return an attribute of the container."""

    def add(
        dag: dagger.Client, c: dagger.Container, _options: dict[str, Any], value: int
    ) -> dagger.Container:
        return make(dag, c, value)

    return add


ATTRIBUTES: dict[str, Attribute] = {
    "argument": on_command("more", "one", "two"),
    "stdin": on_command("stdin", "one", "two"),
    "variable": on_files(lambda _dag, c, v: c.with_env_variable("V", str(v))),
    "user": on_files(lambda _dag, c, v: c.with_user(str(1000 * v))),
    "workdir": on_files(lambda _dag, c, v: c.with_workdir(("/", "/usr")[v])),
    "text of a file": on_files(lambda _dag, c, v: c.with_new_file("/x/text", str(v))),
    "mode of a file": on_files(
        lambda _dag, c, v: c.with_new_file("/x/mode", "", permissions=(0o644, 0o604)[v])
    ),
    "owner of a file": on_files(lambda _dag, c, v: c.with_new_file("/x/o", "", owner=owner(v))),
    "target of a link": on_files(lambda _dag, c, v: c.with_symlink(("a", "b")[v], "/x/link")),
    "name of a file": on_files(lambda _dag, c, v: c.with_new_file(f"/x/name{v}", "")),
    "removed file": on_files(
        lambda _dag, c, v: c.with_new_file("/x/r0", "").with_new_file("/x/r1", "").without_file(
            f"/x/r{v}"
        )
    ),
    "order of edits": on_files(
        lambda _dag, c, v: c.with_new_file("/x/order", str(v)).with_new_file(
            "/x/order", str(1 - v)
        )
    ),
    "time of a directory": on_files(
        lambda dag, c, v: c.with_directory("/x/time", files(dag).with_timestamps(5 + v))
    ),
    "mode of a copy": on_files(
        lambda dag, c, v: c.with_directory("/x/copy", files(dag), permissions=(0o755, 0o705)[v])
    ),
    "content of a mount": on_files(
        lambda dag, c, v: c.with_mounted_directory(
            "/x/m", dag.directory().with_new_file(f"{v}", "")
        )
    ),
    "mode in a mount": on_files(
        lambda dag, c, v: c.with_mounted_directory(
            "/x/mm", files(dag, permissions=(0o644, 0o604)[v])
        )
    ),
    "owner of a mount": on_files(
        lambda dag, c, v: c.with_mounted_directory("/x/mo", files(dag), owner=owner(v))
    ),
    "rights of a mount": on_files(
        lambda dag, c, v: c.with_mounted_directory("/x/mr", files(dag), read_only=bool(v))
    ),
    "edit of a mount": on_files(
        lambda dag, c, v: c.with_mounted_directory("/x/me", files(dag)).with_new_file(
            "/x/me/n", str(v)
        )
    ),
    "text of a mounted file": on_files(
        lambda dag, c, v: c.with_mounted_file("/x/mf", dag.file("f", str(v)))
    ),
    "owner of a mounted file": on_files(
        lambda dag, c, v: c.with_mounted_file("/x/mfo", dag.file("f", ""), owner=owner(v))
    ),
    "value of a secret": on_files(
        lambda dag, c, v: c.with_secret_variable("S", dag.set_secret(f"n{v}", f"value {v}"))
    ),
    "mode of a secret": on_files(
        lambda dag, c, v: c.with_mounted_secret(
            "/s1", dag.set_secret("m", "mode"), mode=(0o444, 0o404)[v]
        )
    ),
    "owner of a secret": on_files(
        lambda dag, c, v: c.with_mounted_secret(
            "/s2", dag.set_secret("o", "own"), mode=0o444, owner=owner(v)
        )
    ),
    "size of temporary space": on_files(
        lambda _dag, c, v: c.with_mounted_temp("/x/t", size=(1 << 20, 1 << 22)[v])
    ),
    "owner of a cache": on_files(
        lambda dag, c, v: c.with_mounted_cache(
            "/x/c", dag.cache_volume(f"{INSTANCE}-attribute"), source=files(dag), owner=owner(v)
        )
    ),
    "source of a cache": on_files(
        lambda dag, c, v: c.with_mounted_cache(
            "/x/cs",
            dag.cache_volume(f"{INSTANCE}-source"),
            source=dag.directory().with_new_file(f"{v}", ""),
        )
    ),
}  # fmt: skip


async def result(lab: Lab, values: dict[str, int]) -> str:
    """Return what a step sees that has each attribute in one of its two ways."""
    container, options = lab.base.with_directory("/x", lab.dag.directory()), dict[str, Any]()
    for name, add in ATTRIBUTES.items():
        container = add(lab.dag, container, options, values[name])
    args = ["python3", "-c", SEE, options.pop("more")]
    return await container.with_exec(args, **options).stdout()


async def differ(lab: Lab, values: dict[str, int], names: list[str]) -> None:
    """Check that a step with one changed attribute sees something else, for each attribute."""
    found: dict[str, str] = {}

    async def see(name: str, changed: dict[str, int]) -> None:
        found[name] = await result(lab, changed)

    await see("", values)
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(see, name, values | {name: 1 - values[name]})
    same = [name for name in names if found[name] == found[""]]
    assert not same, f"the key does not hold the {' and the '.join(same)}"
    assert len(set(found.values())) == len(found)


STEPS = st.fixed_dictionaries({name: st.integers(0, 1) for name in ATTRIBUTES})


SOME = st.lists(st.sampled_from(list(ATTRIBUTES)), min_size=8, max_size=8, unique=True)


@settings(max_examples=1, deadline=None, phases=[Phase.generate])
@given(values=STEPS, names=SOME)
async def test_each_attribute_that_changes_the_result_changes_the_key(
    options: engine.Options, session: Open, values: dict[str, int], names: list[str]
) -> None:
    async with session(options) as lab:
        await differ(lab, values, names)


@pytest.mark.matrix
@pytest.mark.timeout(7200)
@settings(max_examples=MANY, deadline=None)
@given(values=STEPS, name=st.sampled_from(list(ATTRIBUTES)))
async def test_many_steps_with_one_changed_attribute_have_another_key(
    options: engine.Options, session: Open, values: dict[str, int], name: str
) -> None:
    async with session(options) as lab:
        await differ(lab, values, [name])
