"""One session of the engine: what calls stand for, and the keys of what they make."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

from anyio.abc import TaskGroup

from ci.engine.errors import EngineError
from ci.engine.execution.containers import Boxes
from ci.engine.execution.docker_api import Daemon
from ci.engine.execution.images import Images
from ci.engine.execution.ports import Forwards
from ci.engine.execution.rootfs import Rootfs
from ci.engine.execution.services import Services
from ci.engine.execution.single_flight import Once
from ci.engine.execution.steps import Steps
from ci.engine.fields import FIELDS, Args, Resolver
from ci.engine.ids import Call
from ci.engine.options import Options
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import DIRECTORY, Tree
from ci.engine.values import Directory, Edit, Files, Forward, Image, Mount, Ran, Secret, Service

T = TypeVar("T")


class Engine:
    """One session: values by call, states by key."""

    def __init__(self, options: Options, daemon: Daemon, group: TaskGroup) -> None:
        self.options = options
        self.store = Store(options.cache_dir)
        self.store.begin(daemon.session)
        self.daemon = daemon
        self.rootfs = Rootfs(self.store, daemon)
        self.boxes = Boxes(options, self.store, daemon)
        self.once = Once(group)
        self.group = group
        self.plaintexts: dict[str, bytes] = {}  # of secrets that the client set, by their hash
        self.steps = Steps(self)
        self.services = Services(self)
        self.forwards = Forwards(self)
        self.images = Images(self)
        self.platform = f"linux/{daemon.architecture}"
        self._values: dict[Call, Any] = {}
        self._keys: dict[Files, str] = {}

    def require(self, platform: str | None) -> None:
        """Raise `EngineError` for another platform than this engine's."""
        if platform not in (None, self.platform):
            raise EngineError(f"this engine runs {self.platform} only, not {platform}")

    # --- values -----------------------------------------------------------------------------
    async def value(self, call: Call) -> Any:
        """Return what a call stands for; each call is answered once a session."""
        for each in _unknown(call, lambda each: each.parent, self._values):
            await self.once.do(f"value {each.digest}", partial(self._answer, each))
        return self._values[call]

    async def _answer(self, call: Call) -> None:
        owner = call.parent.type if call.parent else "Query"
        parent = self._values[call.parent] if call.parent else None
        resolver = FIELDS[f"{owner}.{call.field}"]
        self._values[call] = await settled(resolver(self, parent, Args(call.args)))

    async def field(self, call: Call | None, answer: Resolver, args: Args) -> Any:
        """Return what a field of an object holds that is no object itself."""
        parent = None if call is None else await self.value(call)
        return await settled(answer(self, parent, args))

    async def tree(self, call: Call) -> Tree:
        """Return the content of a directory."""
        return await self.forced(cast("Directory", await self.value(call)))

    async def forced(self, directory: Directory) -> Tree:
        """Return the content of a directory; raises `EngineError` if it is none."""
        if directory.tree is not None:
            return directory.tree
        if directory.container is None:
            return Tree()
        tree = await self.steps.tree(directory.container, directory.path)
        if tree.root.kind != DIRECTORY:
            raise EngineError(f"{directory.path}: not a directory")
        return tree

    # --- keys -------------------------------------------------------------------------------
    async def key(self, files: Files) -> str:
        """Return the key of a container's files: all that they are made of, nothing else."""
        for each in _unknown(files, _below, self._keys):
            self._keys[each] = await self._key(each)
        return self._keys[files]

    async def _key(self, files: Files) -> str:
        match files:
            case Image():
                return key_of("image", files.id)
            case Edit():
                source = (await files.source()).digest if files.source else files.expect
                return key_of("edit", self._keys[files.below], files.path, source, files.owner)
            case Ran():
                return await self._ran_key(files)

    async def _ran_key(self, ran: Ran) -> str:
        c = ran.before
        return key_of(
            "ran",
            self._keys[c.files],
            [list(ran.args), ran.stdin, ran.redirect, ran.expect],
            [sorted(c.env), c.user, c.workdir],
            [await self._mount_key(mount) for mount in c.mounts],
            [[name, await self._secret_key(secret)] for name, secret in c.secrets],
            [[alias, await self._service_key(service)] for alias, service in c.services],
        )

    async def _secret_key(self, call: Call) -> str:
        """Return what stands for a secret in keys: what its maker chose, or a hash of its value."""
        secret: Secret = await self.value(call)
        chosen = secret.cache_key
        return self.store.hashed(await secret.reveal()) if chosen is None else key_of(chosen)

    async def _service_key(self, call: Call) -> str:
        service = await self.value(call)
        return str(await self.serving(service).key(service))

    async def _mount_key(self, mount: Mount) -> list[Any]:
        content: Any = None
        if mount.after is not None:
            content = [await self.key(mount.after), mount.path]
        elif mount.kind in ("directory", "file") and mount.source is not None:
            content = (await mount.source()).digest
        elif mount.secret is not None:
            content = await self._secret_key(mount.secret)
        what = [mount.path, mount.kind, mount.owner, mount.read_only, mount.name, mount.mode]
        return [*what, mount.size, content]

    def serving(self, service: Service | Forward) -> Any:
        """Return what starts and stops a service: both have the same methods."""
        return self.forwards if isinstance(service, Forward) else self.services

    async def reveal(self, call: Call) -> bytes:
        """Return a secret's value."""
        return await cast("Secret", await self.value(call)).reveal()


async def settled(answer: Any) -> Any:
    """Return what a resolver answers, plain or awaited."""
    return await answer if inspect.isawaitable(answer) else answer


def _unknown(at: T | None, below: Callable[[T], T | None], known: Mapping[T, Any]) -> list[T]:
    """Return what of a chain is not known, the lowest link first."""
    found = []
    while at is not None and at not in known:
        found.append(at)
        at = below(at)
    return found[::-1]


def _below(files: Files) -> Files | None:
    match files:
        case Edit():
            return files.below
        case Ran():
            return files.before.files
    return None
