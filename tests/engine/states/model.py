"""A plain model of a tree of files: one dictionary, changed in place, without layers or keys.

It is written from what `sh` and a Dagger engine do with a path, not from the engine's code. What
neither does without an error is `ImpossibleError`; a chain leaves such a step out.
"""

from dataclasses import dataclass, field
from posixpath import basename, dirname, join
from typing import NamedTuple

MAX_LINKS = 40


class Node(NamedTuple):
    """One path: a directory, a file with its text or a link with its target."""

    kind: str  # d, f or l
    mode: int
    uid: int = 0
    gid: int = 0
    text: str = ""


FOLDER = Node("d", 0o755)


class ImpossibleError(Exception):
    """An error, or something that nobody does."""


@dataclass
class Files:
    """A directory by path, its own one is the empty path."""

    nodes: dict[str, Node] = field(default_factory=lambda: {"": FOLDER})

    def copy(self) -> "Files":
        """Return other files that are equal."""
        return Files(dict(self.nodes))

    def below(self, place: str) -> "Files":
        """Return a copy of the directory at a place."""
        inner = {p[len(place) + 1 :]: n for p, n in self.nodes.items() if _is_in(p, place)}
        return Files({"": self.nodes[place], **inner}) if place else self.copy()

    # --- paths ------------------------------------------------------------------------------
    def resolve(self, path: str, *, follow: bool = True) -> tuple[str, Node | None]:
        """Return where a path leads, and what is there."""
        done, rest, hops = "", [part for part in path.split("/") if part], 0
        while rest:
            part = rest.pop(0)
            place = join(done, part)
            node = self.nodes.get(place)
            if node is not None and node.kind == "l" and (rest or follow):
                hops += 1
                if hops > MAX_LINKS:
                    raise ImpossibleError("links in a circle")
                rest = node.text.split("/") + rest
                continue
            if node is not None and node.kind == "f" and rest:
                raise ImpossibleError("below a file")
            done = place
        return done, self.nodes.get(done)

    def put(self, place: str, node: Node) -> None:
        """Put a node at a place; only a directory keeps what is below a directory."""
        old = self.nodes.get(place)
        if node.kind != "d" or (old is not None and old.kind != "d"):
            self.drop(place)
        self.nodes[place] = node

    def drop(self, place: str) -> None:
        """Remove a place and all that is below it."""
        gone = [path for path in self.nodes if path == place or _is_in(path, place)]
        for path in gone:
            del self.nodes[path]

    # --- as a process does -------------------------------------------------------------------
    def make_directories(self, path: str) -> None:
        """`mkdir -p`."""
        done = ""
        for part in filter(None, path.split("/")):
            place, node = self.resolve(join(done, part))
            if node is None:
                if place != join(done, part):
                    raise ImpossibleError("a link that leads nowhere")
                self.put(place, FOLDER)
            elif node.kind != "d":
                raise ImpossibleError("a file is there")
            done = place

    def write(self, path: str, text: str) -> None:
        """`mkdir -p` of the directory, then `printf text > path`."""
        self.make_directories(dirname(path))
        place, node = self.resolve(path)
        above = self.nodes.get(dirname(place))
        if node is not None and node.kind == "d":
            raise ImpossibleError("a directory is there")
        if above is None or above.kind != "d":
            raise ImpossibleError("no directory")
        self.put(place, (node or Node("f", 0o644))._replace(text=text))

    def link(self, path: str, target: str, *, process: bool) -> None:
        """`mkdir -p` of the directory, then `ln -s`; or withSymlink."""
        if process:
            self.make_directories(dirname(path))
        folder, node = self.resolve(dirname(path))
        place = join(folder, basename(path))
        if place in self.nodes:
            raise ImpossibleError("the name exists")
        if node is not None and node.kind != "d":
            raise ImpossibleError("no directory")
        self._make_missing(folder)
        self.put(place, Node("l", 0o777, text=target))

    def _make_missing(self, folder: str) -> None:
        parts = folder.split("/") if folder else []
        for number in range(len(parts)):
            above = "/".join(parts[: number + 1])
            if above not in self.nodes:
                self.put(above, FOLDER)

    def remove(self, path: str) -> None:
        """`rm -rf`, or withoutFile and withoutDirectory."""
        place, _ = self.resolve(path, follow=False)
        self.drop(place)

    def change(self, path: str, *, mode: int | None = None, owner: int | None = None) -> None:
        """`chmod` and `chown`, which change what a link leads to."""
        place, node = self.resolve(path)
        if node is None:
            raise ImpossibleError("nothing is there")
        mode = node.mode if mode is None else mode
        uid, gid = node.uid, node.gid
        if owner is not None:
            uid = gid = owner
            mode &= ~0o4000 if node.kind == "f" else 0o7777  # the kernel takes the right
        self.nodes[place] = node._replace(mode=mode, uid=uid, gid=gid)

    # --- as Dagger does ----------------------------------------------------------------------
    def _copy_directories(self, path: str) -> str:
        """Return the directory at a path, created where nothing is; replaces links to nowhere."""
        done = ""
        for part in filter(None, path.split("/")):
            named = join(done, part)
            place, node = self.resolve(named)
            if node is None:
                self.put(named, FOLDER)
                done = named
            elif node.kind == "d":
                done = place
            else:
                raise ImpossibleError("a file is there")
        return done

    def copy_file(self, path: str, name: str, node: Node) -> None:
        """WithNewFile and withFile of a container."""
        place, old = self.resolve(path)
        if old is not None and old.kind == "d":
            target = join(place, name)
        else:
            target = join(self._copy_directories(dirname(path)), basename(path))
        self.put(target, node)

    def copy_directory(self, path: str, source: "Files") -> None:
        """WithDirectory: directories merge, and take mode and owner; all else replaces."""
        place, old = self.resolve(path)
        if old is not None and old.kind != "d":
            if self.resolve(path, follow=False)[0] != place:
                raise ImpossibleError("a link to a file is there")
            self.put(place, FOLDER)
        top = self._copy_directories(path)
        if top:
            self.put(top, source.nodes[""])
        places = {"": top}
        for name, node in sorted(source.nodes.items()):
            if not name:
                continue
            target = join(places[dirname(name)], basename(name))
            if node.kind == "d":
                place, old = self.resolve(target)
                if old is not None and old.kind != "d" and place != target:
                    raise ImpossibleError("a link to a file is there")
                target = places[name] = place if old is not None else target
            self.put(target, node)


def owned(source: Files, owner: int) -> Files:
    """Return files that all belong to one user and group."""
    return Files({path: node._replace(uid=owner, gid=owner) for path, node in source.nodes.items()})


def _is_in(path: str, place: str) -> bool:
    return bool(path) and (not place or path.startswith(f"{place}/"))
