"""Every field of a value is in its cache key, unless a table excludes it by name."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import pytest

from ci.engine.errors import EngineError
from ci.engine.execution.commands import Command
from ci.engine.execution.keys import EXEC, SERVICE, SHAPE, Exclusions, Keys
from ci.engine.execution.resources import BoundServices, Resources
from ci.engine.execution.steps import Steps
from ci.engine.files.rootfs import Rootfs
from ci.engine.healthcheck import Healthcheck
from ci.engine.ids import Call
from ci.engine.options import Options
from ci.engine.store.cache import Store
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree
from ci.engine.values import (
    Change,
    Container,
    Edit,
    Exec,
    Image,
    Mount,
    Port,
    PortForward,
    Secret,
    Service,
    TreeSource,
)


def source(content: str) -> TreeSource:
    async def read() -> Tree:
        return Tree({"": FOLDER, "f": Entry(FILE, 0o644, content=content)})

    return read


def call(name: str) -> Call:
    return Call("Any", name)


def secret(value: bytes, **options: Any) -> Secret:
    async def reveal() -> bytes:
        return value

    return Secret(name="s", uri="env://S", reveal=reveal, **options)


#: Two different values of every field: the first and the second one of a changed value.
VALUES: dict[type, dict[str, tuple[Any, Any]]] = {
    Image: {"id": ("sha256:a", "sha256:b")},
    Edit: {
        "below": (Image(id="a"), Image(id="b")),
        "change": (Change(kind="remove", path="/a"), Change(kind="remove", path="/b")),
    },
    Change: {
        "kind": ("file", "files"),
        "path": ("/a", "/b"),
        "source": (source("a"), source("b")),
        "target": ("", "x"),
        "mode": (None, 0o600),
        "owner": ("1", "2"),
        "owners": (None, Image(id="a")),
        "seconds": (0, 5),
    },
    Exec: {
        "before": (
            Container(platform="p"),
            Container(platform="p", files=Image(id="other")),
        ),
        "args": (("a", "b"), ("a b",)),
        "stdin": ("", "x"),
        "redirect_stdin": ("", "/in/f"),
        "expect": ("SUCCESS", "ANY"),
    },
    Mount: {
        "path": ("/in", "/other"),
        "kind": ("directory", "file"),
        "source": (source("a"), source("b")),
        "edits": ((), (Change(kind="remove", path="/a"),)),
        "owner": ("", "1:2"),
        "read_only": (False, True),
        "after": (None, Exec(before=Container(platform="p"), args=("fill",))),
        "name": ("", "pip"),
        "sharing": ("SHARED", "LOCKED"),
        "secret": (None, call("one")),
        "mode": (0o400, 0o444),
        "size": (None, 4096),
    },
    Port: {
        "port": (80, 81),
        "protocol": ("TCP", "UDP"),
        "description": (None, "web"),
        "skip_healthcheck": (False, True),
    },
    Healthcheck: {
        "test": (("CMD", "a"), ("CMD-SHELL", "a")),
        "times": ((), (("interval", 10**9),)),
        "retries": (0, 3),
    },
    Container: {
        "files": (Image(id="a"), Image(id="b")),
        "platform": ("linux/amd64", "linux/arm64"),
        "image_ref": ("", "python"),
        "image_config": ({}, {"StopSignal": "SIGQUIT"}),
        "env": ((("A", "1"), ("B", "2")), (("B", "2"), ("A", "1"))),
        "user": ("", "ann"),
        "workdir": ("", "/w"),
        "entrypoint": ((), ("sh",)),
        "args": ((), ("sh",)),
        "args_set": (False, True),
        "labels": ((), (("a", "1"),)),
        "ports": ((), (Port(port=80),)),
        "mounts": ((), (Mount(path="/m", kind="temp"),)),
        "secrets": ((("S", call("one")),), (("S", call("other")),)),
        "services": ((("db", call("service")),), (("db", call("forward")),)),
        "auth": ((), (("r", ("u", call("one"))),)),
        "annotations": ((), (("a", "1"),)),
        "healthcheck": (None, Healthcheck(test=("CMD", "a"))),
        "volatile": ((("V", "0"),), (("V", "1"),)),
        "last_exec": (None, Exec(before=Container(platform="p"), args=("a",))),
    },
    Service: {
        "container": (Container(platform="p"), Container(platform="p", user="ann")),
        "args": (("a",), ("b",)),
        "hostname": ("", "web"),
    },
    PortForward: {
        "ports": (((0, 80),), ((80, 80),)),
        "host": ("", "localhost"),
        "service": (None, Service(container=Container(platform="p"), args=("a",))),
        "hostname": ("a", "b"),
    },
    Command: {
        "key": ("a", "b"),
        "args": (("a",), ("b",)),
        "env": ({}, {"A": "1"}),
        "user": ("", "ann"),
        "workdir": ("/", "/w"),
        "stdin": (b"", b"x"),
        "mounts": ((), (Mount(path="/m", kind="temp"),)),
        "hosts": ({}, {"db": "10.0.0.1"}),
        "hidden": ((), (b"x",)),
    },
}


def variants(kind: type) -> list[Any]:
    """Return two parameters for each field of a dataclass: its name, a value, a changed value."""
    found = []
    for first in (0, 1):  # from each of both sides
        base = kind(**{name: pair[first] for name, pair in VALUES[kind].items()})
        for name, pair in VALUES[kind].items():
            changed = replace(base, **{name: pair[1 - first]})
            found.append(pytest.param(name, base, changed, id=f"{kind.__name__}.{name}-{first}"))
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


OBJECTS: dict[str, Any] = {
    "one": secret(b"1"),
    "other": secret(b"2"),
    "service": Service(container=Container(platform="p"), args=("a",)),
    "forward": PortForward(ports=((80, 80),), host="localhost"),
}


@pytest.fixture
def keys(store: Store) -> Keys:
    async def evaluate(call: Call) -> Any:
        return OBJECTS[call.field]

    return Keys(store, evaluate)


def step(**options: Any) -> Exec:
    return Exec(before=Container(platform="p", **options), args=("a",))


def service(**options: Any) -> Service:
    return Service(container=Container(platform="p", **options), args=("a",))


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_field_has_two_values_here_so_a_new_one_needs_a_decision(kind: type) -> None:
    names = {field.name for field in fields(kind)}
    assert names == set(VALUES[kind]), "add the field: its change must change the key"
    for table in (EXEC, SERVICE, SHAPE):
        assert set(table.get(kind, ())) <= names, "an excluded field that does not exist"


def included(kind: type, name: str, table: Exclusions) -> bool:
    return name not in table.get(kind, ())


@pytest.mark.parametrize(("name", "base", "changed"), [*variants(Image), *variants(Edit)])
async def test_a_changed_edit_or_image_has_another_key(
    keys: Keys, name: str, base: Any, changed: Any
) -> None:
    assert await keys.of(base) != await keys.of(changed), name


@pytest.mark.parametrize(("name", "base", "changed"), variants(Change))
async def test_a_changed_change_of_files_has_another_key(
    keys: Keys, name: str, base: Change, changed: Change
) -> None:
    one, other = (Edit(below=Image(id="a"), change=each) for each in (base, changed))
    assert await keys.of(one) != await keys.of(other), name


@pytest.mark.parametrize(("name", "base", "changed"), variants(Exec))
async def test_a_changed_command_has_another_key(
    keys: Keys, name: str, base: Exec, changed: Exec
) -> None:
    assert await keys.of(base) != await keys.of(changed), name


@pytest.mark.parametrize(("name", "base", "changed"), variants(Container))
async def test_a_change_of_what_a_command_sees_changes_its_key(
    keys: Keys, name: str, base: Container, changed: Container
) -> None:
    one, other = (Exec(before=each, args=("a",)) for each in (base, changed))
    assert (await keys.of(one) != await keys.of(other)) == included(Container, name, EXEC)
    served = [Service(container=each, args=("a",)) for each in (base, changed)]
    differ = await keys.of_service(served[0]) != await keys.of_service(served[1])
    assert differ == included(Container, name, SERVICE)


async def test_the_names_of_volatile_variables_are_in_the_key(keys: Keys) -> None:
    """A name hides a variable of the container, so what a command sees depends on it."""
    containers = [(), (("V", "1"),), (("V", "1"), ("W", "2"))]
    assert len({await keys.of(step(volatile=each)) for each in containers}) == 3


@pytest.mark.parametrize(("name", "base", "changed"), variants(Mount))
async def test_a_change_of_a_mount_changes_the_key(
    keys: Keys, name: str, base: Mount, changed: Mount
) -> None:
    same = name == "source" and base.after is not None  # the content is what `after` left
    assert (await keys.of(step(mounts=(base,))) == await keys.of(step(mounts=(changed,)))) == same


@pytest.mark.parametrize(("name", "base", "changed"), [*variants(Service), *variants(PortForward)])
async def test_a_change_of_a_service_changes_its_key_and_that_of_its_clients(
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    base: Any,
    changed: Any,
) -> None:
    assert await keys.of_service(base) != await keys.of_service(changed), name
    found = []
    for each in (base, changed):
        monkeypatch.setitem(OBJECTS, "service", each)
        found.append(await keys.of(step(services=(("db", call("service")),))))
    assert found[0] != found[1]


@pytest.mark.parametrize(("name", "base", "changed"), variants(Port))
async def test_a_change_of_a_port_changes_the_key_of_its_service(
    keys: Keys, name: str, base: Port, changed: Port
) -> None:
    one, other = service(ports=(base,)), service(ports=(changed,))
    differ = await keys.of_service(one) != await keys.of_service(other)
    assert differ == included(Port, name, SERVICE)


@pytest.mark.parametrize(("name", "base", "changed"), variants(Healthcheck))
async def test_a_change_of_a_healthcheck_changes_the_key_of_its_service(
    keys: Keys, name: str, base: Healthcheck, changed: Healthcheck
) -> None:
    one, other = service(healthcheck=base), service(healthcheck=changed)
    assert await keys.of_service(one) != await keys.of_service(other), name


async def test_a_secret_enters_by_its_value_or_by_its_cache_key(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def with_secret(value: Secret) -> str:
        monkeypatch.setitem(OBJECTS, "one", value)
        return await keys.of(step(secrets=(("S", call("one")),)))

    plain = await with_secret(secret(b"1"))
    assert plain == await with_secret(replace(secret(b"1"), name="t", uri="env://T"))
    assert plain != await with_secret(secret(b"2"))
    chosen = await with_secret(secret(b"1", cache_key="k"))
    assert chosen == await with_secret(secret(b"2", cache_key="k"))
    assert len({plain, chosen, await with_secret(secret(b"1", cache_key="l"))}) == 3


async def test_a_field_of_a_type_without_a_rule_is_an_error(keys: Keys) -> None:
    with pytest.raises(TypeError, match="float: no rule says how"):
        await keys.of(step(mounts=(Mount(path="/m", kind="temp", size=cast("int", 1.5)),)))
    OBJECTS["directory"] = Tree()
    with pytest.raises(TypeError, match="Tree: no rule says how"):
        await keys.of(step(secrets=(("S", call("directory")),)))


# --- containers that are used again -------------------------------------------------------------
@pytest.mark.parametrize(("name", "base", "changed"), variants(Command))
async def test_another_shape_needs_another_container(
    keys: Keys, name: str, base: Command, changed: Command
) -> None:
    differ = await keys.shape(base) != await keys.shape(changed)
    assert differ == included(Command, name, SHAPE)


@pytest.mark.parametrize(("name", "base", "changed"), variants(Mount))
async def test_a_change_of_a_mount_needs_another_container(
    keys: Keys, name: str, base: Mount, changed: Mount
) -> None:
    one, other = (Command(key="k", args=("a",), mounts=(each,)) for each in (base, changed))
    assert (await keys.shape(one) != await keys.shape(other)) == included(Mount, name, SHAPE)


# --- commands -------------------------------------------------------------------------------------
#: Fields of a step that its `Command` does not hold, and what uses them.
NOT_IN_COMMAND = {
    Container: {"files": "the container has them", "platform": "an engine has one"},
    Exec: {"before": "tested field by field", "expect": "compared with the exit code"},
}


@pytest.fixture
def steps(store: Store, keys: Keys) -> Steps:
    class Daemonless(Resources):
        """Resources of which only the store and the options are used."""

    resources = Daemonless(
        options=Options(cache_dir=store.root),
        store=store,
        rootfs=Rootfs(store, cast("Any", None)),
        **dict.fromkeys(("daemon", "containers", "flights", "group"), cast("Any", None)),
    )

    async def reveal(call: Call) -> bytes:
        return await cast("Secret", OBJECTS[call.field]).reveal()

    class Bound(BoundServices):
        """Services whose address is the name of their object."""

        async def start_all(self, container: Container) -> dict[str, str]:
            return {alias: call.field for alias, call in container.services}

    return Steps(resources, keys, reveal, Bound)


@pytest.mark.parametrize(("name", "base", "changed"), variants(Container))
async def test_whatever_of_a_container_is_in_the_key_reaches_the_command(
    steps: Steps, name: str, base: Container, changed: Container
) -> None:
    if name in NOT_IN_COMMAND[Container] or not included(Container, name, EXEC):
        return
    one, other = [await steps.command(Exec(before=each, args=()), "k") for each in (base, changed)]
    assert list(one.env.items()) != list(other.env.items()) or one != other


@pytest.mark.parametrize(("name", "base", "changed"), variants(Exec))
async def test_whatever_of_a_step_is_in_the_key_reaches_the_command(
    steps: Steps, store: Store, name: str, base: Exec, changed: Exec
) -> None:
    if name in NOT_IN_COMMAND[Exec]:
        return
    mount = Mount(path="/in", kind="directory", source=source(store.add_bytes(b"file")))
    before = Container(platform="p", mounts=(mount,))
    one, other = [
        await steps.command(replace(each, before=before), "k") for each in (base, changed)
    ]
    hides = name == "stdin" and one.stdin == b"file"  # a redirected file replaces the text
    assert (one == other) == hides


def test_an_unsupported_platform_is_an_error_that_names_both() -> None:
    class OnAmd64(Resources):
        platform = "linux/amd64"

    empty = cast("Any", None)
    names = ("options", "store", "daemon", "rootfs", "containers", "flights", "group")
    resources = OnAmd64(**dict.fromkeys(names, empty))
    resources.require_platform(None)
    with pytest.raises(EngineError, match="linux/s390x: this engine runs linux/amd64 only"):
        resources.require_platform("linux/s390x")
