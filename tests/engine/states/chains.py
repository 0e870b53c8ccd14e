"""Chains of edits, commands, mounts, links, removals and copies: in the model and in an engine."""

import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import basename, dirname, join
from typing import Any, Literal, NamedTuple

import dagger
from hypothesis import strategies as st

from tests.engine.behaviours import Lab
from tests.engine.states.model import Files, ImpossibleError, Node, owned

#: Where the files and the mount of a chain are, in its container.
ROOT, MOUNT = "/w", "/m"
Kind = Literal[
    "new file", "write", "link", "make link", "remove", "delete", "mode", "owner",
    "copy directory", "copy file", "mount", "unmount", "export",
]  # fmt: skip
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]


class Step(NamedTuple):
    """One step of a chain. What a kind does not need of it, it does not look at."""

    kind: Kind
    path: str
    in_mount: bool = False
    number: int = 0  # text, mode or owner
    other: str = ""  # a link's target, or the path of what is copied
    state: int = 0  # where that is: after so many steps


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(["a", "b", "c", "b/c"])
MODES = (0o644, 0o600, 0o755, 0o4711)


@dataclass
class Model:
    """The files of a chain, and the content of its mount."""

    files: Files = field(default_factory=Files)
    mount: Files | None = None

    def copy(self) -> "Model":
        """Return another model that is equal."""
        return Model(self.files.copy(), self.mount and self.mount.copy())

    def listing(self) -> dict[str, Node]:
        """Return every node by its path in the container."""
        found = {f"{ROOT}/{path}".rstrip("/"): n for path, n in self.files.nodes.items()}
        inner = self.mount.nodes.items() if self.mount else ()
        return found | {f"{MOUNT}/{path}".rstrip("/"): n for path, n in inner}


def possible(steps: Iterable[Step]) -> tuple[list[Step], list[Model]]:
    """Return the steps that are possible, and the model before and after each of them."""
    kept: list[Step] = []
    models = [Model()]
    for step in steps:
        _extend(kept, models, step)
    return kept, models


def _extend(kept: list[Step], models: list[Model], step: Step) -> None:
    model = models[-1].copy()
    try:
        _model(step, model, models)
    except ImpossibleError:
        return
    kept.append(step)
    models.append(model)


@st.composite
def chains(draw: st.DrawFn, least: int, most: int) -> list[Step]:
    """Chains of possible steps, most of them on paths that exist."""
    size = draw(st.integers(least, most))
    kept: list[Step] = []
    models = [Model()]
    for _ in range(3 * size):  # some are not possible
        if len(kept) < size:
            _extend(kept, models, draw(_steps(models)))
    return kept


def _steps(models: list[Model]) -> st.SearchStrategy[Step]:
    """Return steps that may follow."""
    files, mount = models[-1].files, models[-1].mount
    known = sorted(path for path in files.nodes if path)
    paths = st.one_of(st.sampled_from(known), PATHS) if known else PATHS
    return st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        path=paths,
        in_mount=st.booleans() if mount else st.just(value=False),
        number=st.integers(0, 3),
        other=st.one_of(TARGETS, paths),
        state=st.integers(max(0, len(models) - 4), len(models) - 1),
    )


def _model(step: Step, model: Model, models: list[Model]) -> None:
    files = model.mount if step.in_mount else model.files
    if files is None:
        raise ImpossibleError("no mount")
    changes: dict[str, Callable[[], Any]] = {
        "new file": lambda: files.copy_file(step.path, basename(step.path), _file(step)),
        "write": lambda: files.write(step.path, _text(step)),
        "link": lambda: files.link(step.path, step.other, process=False),
        "make link": lambda: files.link(step.path, step.other, process=True),
        "remove": lambda: files.remove(step.path),
        "delete": lambda: files.remove(step.path),
        "mode": lambda: files.change(step.path, mode=MODES[step.number]),
        "owner": lambda: files.change(step.path, owner=step.number),
        "export": lambda: None,
    }
    if step.kind in changes:
        changes[step.kind]()
        return
    if step.kind == "unmount":
        if model.mount is None:
            raise ImpossibleError("no mount")
        model.mount = None
        return
    source = _source(step, models)
    if step.kind == "mount":
        model.mount = source
    elif step.kind == "copy directory":
        files.copy_directory(step.path, owned(source, step.number) if step.number else source)
    else:
        node = models[step.state].files.nodes.get(step.other)
        if node is None or node.kind != "f":
            raise ImpossibleError("no file to copy")
        files.copy_file(step.path, basename(step.other), node)


def _source(step: Step, models: list[Model]) -> Files:
    files = models[step.state].files
    if step.kind == "copy file":
        return files
    place, node = files.resolve(step.other if step.number else "")
    if node is None or node.kind != "d":
        raise ImpossibleError("no directory to copy")
    return files.below(place)


def _file(step: Step) -> Node:
    return Node("f", MODES[step.number] & 0o777, step.number, step.number, _text(step))


def _text(step: Step) -> str:
    return f"text {step.number}"


# --- in an engine -------------------------------------------------------------------------------
def start(lab: Lab) -> dagger.Container:
    """Return the container with which a chain begins."""
    return lab.base.with_directory(ROOT, lab.dag.directory())


def extended(  # noqa: PLR0911 (one a kind)
    containers: list[dagger.Container], step: Step
) -> dagger.Container:
    """Return the last container after a step; those before are where it copies from."""
    old, root = containers[-1], MOUNT if step.in_mount else ROOT
    path, of = f"{root}/{step.path}", containers[step.state]
    inner = f"{ROOT}/{step.other if step.number else ''}"
    owner = str(step.number) if step.number else None
    match step.kind:
        case "new file":
            mode = MODES[step.number] & 0o777
            return old.with_new_file(path, _text(step), permissions=mode, owner=str(step.number))
        case "link":
            return old.with_symlink(step.other, path)
        case "remove":
            return (old.without_file if step.number else old.without_directory)(path)
        case "copy directory":
            return old.with_directory(path, of.directory(inner), owner=owner)
        case "copy file":
            return old.with_file(path, of.file(f"{ROOT}/{step.other}"))
        case "mount":
            return old.with_mounted_directory(MOUNT, of.directory(inner))
        case "unmount":
            return old.without_mount(MOUNT)
        case "export":
            return old
    return old.with_exec(["sh", "-ec", _script(step, path)])


def _script(step: Step, path: str) -> str:
    folder = dirname(path)
    match step.kind:
        case "write":
            return f"mkdir -p {folder}; printf '{_text(step)}' > {path}"
        case "make link":
            return f"mkdir -p {folder}; ln -sn {step.other} {path}"
        case "delete":
            return f"rm -rf {path}"
        case "mode":
            return f"chmod {MODES[step.number]:o} {path}"
    return f"chown {step.number}:{step.number} {path}"


#: Prints all that the model has, for each path below the roots of a chain.
LIST = f"""
import json, os, stat
found = {{}}
def add(path):
    s = os.lstat(path)
    kind = {{stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l"}}[stat.S_IFMT(s.st_mode)]
    text = os.readlink(path) if kind == "l" else open(path).read() if kind == "f" else ""
    found[path] = [kind, stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, text]
    if kind == "d":
        for name in os.listdir(path):
            add(path + "/" + name)
for root in {ROOT!r}, {MOUNT!r}:
    if os.path.isdir(root):
        add(root)
print(json.dumps(found))
"""


async def listing(container: dagger.Container, *args: str) -> dict[str, Node]:
    """Return what a command sees in a container; another argument is another command."""
    said = await container.with_exec(["python3", "-c", LIST, *args]).stdout()
    return {path: Node(*fields) for path, fields in json.loads(said).items()}


def unowned(nodes: dict[str, Node], root: str) -> dict[str, Node]:
    """Return the nodes below a root without their owners, which an export cannot set."""
    at = len(root)
    inner = {p[at:].strip("/"): n for p, n in nodes.items() if f"{p}/".startswith(f"{root}/")}
    return {path: node._replace(uid=0, gid=0) for path, node in inner.items() if path}


def on_host(root: Path) -> dict[str, Node]:
    """Return what an export wrote."""
    found = {}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            kind = "l" if path.is_symlink() else "d" if path.is_dir() else "f"
            text = os.readlink(path) if kind == "l" else "" if kind == "d" else path.read_text()  # noqa: PTH115
            found[str(path.relative_to(root))] = Node(kind, stat.S_IMODE(mode), 0, 0, text)
    return found


def in_archive(path: Path) -> dict[str, Node]:
    """Return what the layers of an image archive leave below the root of a chain."""
    nodes: dict[str, Node] = {}
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                _lay(nodes, layer)
    return nodes


def _lay(nodes: dict[str, Node], layer: tarfile.TarFile) -> None:
    """Apply a layer as the OCI image specification says: removals first."""
    members = [m for m in layer if f"/{m.name}/".startswith(f"{ROOT}/") or ".wh." in m.name]
    for member in members:
        folder, name = dirname(f"/{member.name}"), basename(member.name)
        if name == ".wh..wh..opq":
            _drop(nodes, folder, itself=False)
        elif name.startswith(".wh."):
            _drop(nodes, join(folder, name.removeprefix(".wh.")))
    for member in members:
        if not basename(member.name).startswith(".wh."):
            path = f"/{member.name}"
            node = _node(layer, member)
            if node.kind != "d" or nodes.get(path, node).kind != "d":
                _drop(nodes, path)
            nodes[path] = node


def _drop(nodes: dict[str, Node], place: str, *, itself: bool = True) -> None:
    for path in [p for p in nodes if p.startswith(f"{place}/") or (itself and p == place)]:
        del nodes[path]


def _node(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    if member.issym():
        return Node("l", 0o777, member.uid, member.gid, member.linkname)
    mode = stat.S_IMODE(member.mode)  # Docker's layers have the kind there as well
    if member.isdir():
        return Node("d", mode, member.uid, member.gid)
    file = layer.extractfile(member)
    assert file is not None
    return Node("f", mode, member.uid, member.gid, file.read().decode())
