"""One session of the engine: evaluates calls to values, and connects the parts that execute."""

import inspect
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from anyio.abc import TaskGroup

from ci.engine.docker.docker_api import STORE, Daemon
from ci.engine.errors import EngineError
from ci.engine.execution.bindings import Bindings
from ci.engine.execution.containers import StepContainers
from ci.engine.execution.images import Images
from ci.engine.execution.keys import Keys, unknown
from ci.engine.execution.resources import Resources
from ci.engine.execution.services import Services
from ci.engine.execution.single_flight import SingleFlight
from ci.engine.execution.steps import Steps
from ci.engine.fields import FIELDS, Args, Resolver
from ci.engine.files.rootfs import Rootfs
from ci.engine.ids import Call
from ci.engine.options import Options
from ci.engine.store.cache import Store
from ci.engine.store.edits import TreeView
from ci.engine.store.tree import DIRECTORY, Entry, Tree, found, inside, lookup
from ci.engine.values import CONTENT_MOUNTS, Change, Directory, Edit, Secret

if TYPE_CHECKING:
    from ci.engine.execution.port_forwards import PortForwards


class Engine:
    """One session, as resolvers of fields see it."""

    def __init__(self, options: Options, daemon: Daemon, group: TaskGroup) -> None:
        self.options = options
        self.store = Store(options.cache_dir)
        self.store.register_session(daemon.session)
        daemon.labels[STORE] = self.store.identity
        self.rootfs = Rootfs(self.store, daemon)
        self.flights = SingleFlight(group)
        self.resources = Resources(
            options=options,
            store=self.store,
            daemon=daemon,
            rootfs=self.rootfs,
            containers=StepContainers(options, self.store, daemon),
            flights=self.flights,
            group=group,
        )
        self.platform = self.resources.platform
        self.require_platform = self.resources.require_platform
        self.plaintexts: dict[str, bytes] = {}  # of secrets that the client set, by their hash
        self._values: dict[Call, Any] = {}
        self.keys = Keys(self.store, self.value)
        # A step starts its services, and a service is started as a step: so they are bound late.
        self.steps = Steps(self.resources, self.keys, self.reveal, lambda: self.bindings)
        self.files = self.steps.files
        self.services = Services(self.resources, self.keys, self.steps, lambda: self.bindings)
        self.bindings = Bindings(self.services, lambda: self.port_forwards, self.value)
        self.images = Images(self.resources, self.steps, self.value, self.reveal)

    @cached_property
    def port_forwards(self) -> "PortForwards":
        """The port forwards of the session; most have none."""
        from ci.engine.execution.port_forwards import PortForwards

        return PortForwards(self.resources, self.services)

    async def value(self, call: Call) -> Any:
        """Return the value of a call; each call is evaluated once in a session."""
        for each in unknown(call, lambda each: each.parent, self._values):
            await self.flights.run(f"value {each.digest}", partial(self._evaluate, each))
        return self._values[call]

    async def _evaluate(self, call: Call) -> None:
        owner = call.parent.type if call.parent else "Query"
        parent = self._values[call.parent] if call.parent else None
        resolver = FIELDS[f"{owner}.{call.field}"]
        self._values[call] = await _awaited(resolver(self, parent, Args(call.args)))

    async def field(self, call: Call | None, resolver: Resolver, args: Args) -> Any:
        """Return the value of a field that holds plain data, not an object."""
        parent = None if call is None else await self.value(call)
        return await _awaited(resolver(self, parent, args))

    async def tree(self, call: Call) -> Tree:
        """Return the content of the directory that a call stands for."""

        async def read() -> Tree:
            return await self.content(cast("Directory", await self.value(call)))

        # In a task of its own: trees of trees may be nested deeper than Python calls.
        return await self.flights.run(f"tree {call.digest}", read)

    async def content(self, directory: Directory) -> Tree:
        """Return the content of a directory; raises `EngineError` if the path is a file."""
        if directory.tree is not None:
            content = inside(directory.tree, directory.path)
        elif directory.container is not None:
            content = await self.files.tree(directory.container, directory.path)
        else:
            content = Tree()
        if content.root.kind != DIRECTORY:
            raise EngineError(f"path {directory.path} is a file, not a directory")
        return content

    async def look(
        self, directory: Directory, path: str, *, follow: bool = True
    ) -> tuple[str, Entry | None]:
        """Return where a path below a directory leads and what is there."""
        at = await self._outside_mounts(directory)
        if at.container is not None:
            return await self.files.look(at.container, at.absolute(path), follow=follow)
        return found(at.tree or Tree(), at.absolute(path), follow=follow)

    async def entry(self, directory: Directory, path: str) -> Entry:
        """Return the entry at a path below a directory; raises `EngineError` if it is missing."""
        at = await self._outside_mounts(directory)
        if at.container is not None:
            return (await self.files.tree(at.container, at.absolute(path))).root
        return lookup(at.tree or Tree(), at.absolute(path))[1]

    async def changed(self, directory: Directory, change: Change) -> Directory:
        """Return a directory after a change, whose path is below the directory."""
        old = await self._outside_mounts(directory)
        change = replace(change, path=old.absolute(change.path))
        if old.container is None:
            return replace(old, tree=await self.files.changed(old.tree or Tree(), change))
        files = Edit(below=old.container.files, change=change)
        return replace(old, container=replace(old.container, files=files, mounts=()))

    async def _outside_mounts(self, directory: Directory) -> Directory:
        """Return a directory in a mount of a container as one in the mount's content."""
        container = directory.container
        mount = None if container is None else container.covering(directory.path)
        if mount is None or mount.kind not in CONTENT_MOUNTS:
            return directory
        path = directory.path[len(mount.path.rstrip("/")) :] or "/"
        return Directory(tree=await self.files.content(mount), path=path)

    async def owner(self, directory: Directory | None, text: str) -> tuple[int, int]:
        """Return the ids of `user:group`; names are looked up in the tables of a directory."""
        at = await self._outside_mounts(directory or Directory(tree=Tree()))
        if at.container is not None:
            return await self.files.owner(await self.files.view(at.container.files), text)
        return await self.files.owner(TreeView(at.tree or Tree()), text)

    async def reveal(self, call: Call) -> bytes:
        """Return the plain value of a secret."""
        return await cast("Secret", await self.value(call)).reveal()


async def _awaited(answer: Any) -> Any:
    """Return what a resolver returns, which may be a coroutine."""
    return await answer if inspect.isawaitable(answer) else answer
