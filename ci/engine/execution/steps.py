"""Steps of a container: its files as Docker has them, its commands run or found in the cache."""

import time
from dataclasses import dataclass, replace
from posixpath import join
from typing import TYPE_CHECKING

import anyio

from ci.engine import locks
from ci.engine.errors import ExecFailedError
from ci.engine.execution import cache_volumes
from ci.engine.execution.commands import GoneError, Order, Output, Runner
from ci.engine.execution.containers import Box, Filled
from ci.engine.execution.docker_api import REPOSITORY, DaemonError
from ci.engine.execution.rootfs import Layer, State
from ci.engine.store.patterns import parents
from ci.engine.store.tree import Entry, Tree, chown, clean, inside
from ci.engine.values import CONTENT, Container, Edit, Files, Image, Mount, Ran

if TYPE_CHECKING:
    from ci.engine.execution.session import Engine

#: Commands that run at once.
PARALLEL = 8
#: Bytes of each stream that an error carries; the whole stays in a file.
SHOWN = 200_000
NO_WORKDIR = b"chdir to cwd"


@dataclass(frozen=True, kw_only=True)
class Result(Output):
    """What a command left: how it ended, an image, its mounts."""

    image: str
    mounts: dict[str, str]  # path -> tree in the store
    stubs: list[list[str]]  # mount points that were not there: first missing path, mount's path


class Steps:
    """Runs what must be run, each step once."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._rootfs = engine.rootfs
        self._runner = Runner(engine.store, engine.daemon, engine.boxes)
        self._limiter = anyio.CapacityLimiter(PARALLEL)
        self._states: dict[str, State] = {}
        self._results: dict[str, Result] = {}

    # --- files ------------------------------------------------------------------------------
    async def state(self, files: Files) -> State:
        """Return a container's files as an image and the edits since; runs what must be run."""
        edits, base = _edits(files)
        state = await self._after(base) if isinstance(base, Ran) else State(image=base.id)
        for edit in edits:
            key = await self._engine.key(edit)
            if key not in self._states:
                self._states[key] = await self._edited(state, edit)
            state = self._states[key]
        return state

    async def _edited(self, below: State, edit: Edit) -> State:
        if edit.source is None:
            layer = await self._rootfs.removed(below, edit.path, edit.expect)
        else:
            tree = await edit.source()
            if edit.owner:
                tree = chown(tree, *await self._rootfs.owner(below, edit.owner))
            layer = await self._rootfs.laid(below, edit.path, tree)
        return State(image=below.image, layers=(*below.layers, layer))

    async def _after(self, ran: Ran) -> State:
        """Return a command's files without the mount points that were made for it."""
        result = await self.result(ran, image=True)
        if result.image not in self._states:
            state = State(image=result.image)
            gone = [p for first, at in result.stubs if (p := await self._stub(state, first, at))]
            if gone:
                layer = Layer(entries={}, removed=frozenset(gone))
                composed = await self._rootfs.image(State(image=result.image, layers=(layer,)))
                state = State(image=composed)
            self._states[result.image] = state
        return self._states[result.image]

    async def _stub(self, state: State, first: str, path: str) -> str:
        """Return what of a mount point is nothing but one; empty where it became more."""
        if await self._rootfs.at(state, first) is None:
            return ""
        tree = await self._rootfs.tree(state, first)
        inner = {join(first, name).rstrip("/") for name in tree.entries}
        sizes = any(entry.size for entry in tree.entries.values())
        return first if inner <= {path, *parents(path)} and not sizes else ""

    async def content(self, mount: Mount) -> Tree:
        """Return what a mount of a directory or file holds."""
        if mount.after is not None:
            result = await self.result(mount.after)
            return self._engine.store.load(result.mounts[mount.path])
        return await mount.source() if mount.source else Tree()

    async def tree(self, container: Container, path: str) -> Tree:
        """Return the file or directory at a path of a container, mounts included."""
        mount = container.covering(path)
        if mount is not None and mount.kind in CONTENT:
            return inside(await self.content(mount), path[len(mount.path) :])
        return await self._rootfs.tree(await self.state(container.files), path)

    # --- commands -----------------------------------------------------------------------------
    async def result(self, ran: Ran, *, image: bool = False) -> Result:
        """Return what a command left, from the cache or by running it.

        Where its files are needed, the image must still be there.
        """
        key = await self._engine.key(ran)
        found = await self._kept_result(ran, key, image=image)
        if found is not None:
            return found
        return await self._engine.once.do(f"ran {key}", lambda: self._once(ran, key, image=image))

    async def _kept_result(self, ran: Ran, key: str, *, image: bool) -> Result | None:
        found = self._known(key, ran)
        if found and (not image or await self._engine.daemon.image(found.image) is not None):
            return found
        return None

    async def _once(self, ran: Ran, key: str, *, image: bool) -> Result:
        """Run a command unless another process is about to end it with the same cache."""
        await self._ready(ran)
        async with locks.held(self._engine.store.root / "locks" / key, keep=False):
            return await self._kept_result(ran, key, image=image) or await self._run(ran, key)

    async def _ready(self, ran: Ran) -> None:
        """Run what a command stands on, before it holds anything that others wait for.

        A chain that is longer than what may run at once would wait for itself.
        """
        _, base = _edits(ran.before.files)
        if isinstance(base, Ran):
            await self.result(base, image=True)
        for mount in ran.before.mounts:
            if mount.after is not None:
                await self.result(mount.after)

    def _known(self, key: str, ran: Ran) -> Result | None:
        if key not in self._results:
            known = self._engine.store.get(key)
            if known is None or not self._engine.store.has(known["combined"]):
                return None
            self._results[key] = Result(**known)
            self._engine.options.log(f"cached {shown(ran.args)}")
        return self._results[key]

    async def _run(self, ran: Ran, key: str) -> Result:
        order = await self._order(ran, key)
        started = time.monotonic()
        async with (
            cache_volumes.held(self._engine.store, ran.before.mounts) as mounts,
            self._limiter,
        ):
            result = await self._run_in_box(ran, replace(order, mounts=mounts))
        self._engine.options.log(f"exec {shown(ran.args)} {time.monotonic() - started:.1f} s")
        self._results[key] = result
        self._engine.store.set(key, vars(result))
        return result

    async def _order(self, ran: Ran, key: str) -> Order:
        before = ran.before
        secrets = [(name, await self._engine.reveal(call)) for name, call in before.secrets]
        mounted = [await self._engine.reveal(m.secret) for m in before.mounts if m.secret]
        stdin = ran.stdin.encode()
        if ran.redirect:
            file = await self.tree(before, before.absolute(ran.redirect))
            stdin = self._engine.store.read(file.root.content)
        return Order(
            key=key,
            args=ran.args,
            env={
                **self._engine.options.exec_env,
                **dict((*before.env, *before.volatile)),
                **{name: value.decode() for name, value in secrets},
            },
            user=before.user,
            workdir=before.workdir or "/",
            stdin=stdin,
            mounts=before.mounts,
            hosts=await self._engine.services.hosts(before),
            hidden=(*(value for _, value in secrets), *mounted),
        )

    async def _run_in_box(self, ran: Ran, order: Order) -> Result:
        box, output = await self._ran(ran, order)
        keep = False
        try:
            self._judge(ran, output)
            image, reusable = await self._runner.settle(box, order)
            if box.once:
                image = await self._bare(image, order)
            mounts = {m.path: await self._left(box, m) for m in order.mounts if m.kind in CONTENT}
            keep = reusable
        finally:
            if not keep:
                self._discard(box)
        if keep:
            for old in self._runner.offer(order.key, box, order):
                self._discard(old)
        stubs = box.stubs + ([["dev/acso", "dev/acso"]] if box.touched else [])
        return Result(image=image, mounts=mounts, stubs=stubs, **vars(output))

    def _discard(self, box: Box) -> None:
        """Remove a container without waiting for it."""
        self._engine.group.start_soon(self._engine.boxes.drop, box)

    async def _ran(self, ran: Ran, order: Order) -> tuple[Box, Output]:
        """Run a command in the container that waits for it, in a new one if that is gone."""
        box, state = await self._box(ran, order)
        try:
            return box, await self._tried(ran, order, box, state)
        except GoneError:
            if not box.waited:
                raise
        state = await self.state(ran.before.files)
        box = await self._fresh(order, state)
        return box, await self._tried(ran, order, box, state)

    async def _tried(self, ran: Ran, order: Order, box: Box, state: State) -> Output:
        store = self._engine.store
        try:
            output = await self._runner.run(box, order)
            if output.code == 1 and NO_WORKDIR in store.ends(output.combined, first=500)[0]:
                await self._make_workdir(box, ran.before, state)
                output = await self._runner.run(box, order)
        except BaseException:
            await self._engine.boxes.drop(box)
            raise
        return output

    async def _bare(self, image: str, order: Order) -> str:
        """Return an image without its configuration: of a command's own container that has all.

        The environment with its secrets must not stay.
        """
        bare = await self._rootfs.composed(State(image=image), {})
        daemon = self._engine.daemon
        await daemon.call(daemon.client.remove_image, f"{REPOSITORY}:{order.key[:40]}")
        return bare

    async def _box(self, ran: Ran, order: Order) -> tuple[Box, State]:
        """Return a running container with a command's files and mounts, and its state."""
        edits, base = _edits(ran.before.files)
        if isinstance(base, Ran) and await self._kept(ran.before.mounts, base):
            box = self._runner.take(await self._engine.key(base), order)
            live = await self._caught_up(box, base, edits) if box is not None else None
            if box is not None and live is not None:
                return box, live
        state = await self.state(ran.before.files)
        return await self._fresh(order, state), state

    async def _caught_up(self, box: Box, base: Ran, edits: list[Edit]) -> State | None:
        """Put edits into a waiting container; None if that cannot be done, and it goes."""
        done = False
        try:
            state = State(image=(await self.result(base)).image)
            entries: dict[str, Entry] = {}
            for edit in edits:
                state = await self._edited(state, edit)
                entries |= state.layers[-1].entries
            if any(layer.removed for layer in state.layers):
                return None
            if entries:
                await self._runner.put(box, entries)
            done = True
            return state
        except DaemonError as error:
            if error.status != 404:
                raise
            return None
        finally:
            if not done:
                self._discard(box)

    async def _kept(self, mounts: tuple[Mount, ...], base: Ran) -> bool:
        key = await self._engine.key(base)
        own = [mount.after for mount in mounts if mount.kind in CONTENT]
        return all([ran is not None and await self._engine.key(ran) == key for ran in own])

    async def alone(self, ran: Ran, key: str) -> tuple[Box, Order]:
        """Return a new container whose own process is a command, with what that needs."""
        state, order = await self.state(ran.before.files), await self._order(ran, key)
        filled = [await self.filled(mount, state) for mount in order.mounts]
        return await self._runner.alone(await self._rootfs.image(state), filled, order), order

    async def _fresh(self, order: Order, state: State) -> Box:
        filled = [await self.filled(mount, state) for mount in order.mounts]
        stubs = [s for mount in order.mounts if (s := await self._missing(state, mount.path))]
        box = await self._runner.fresh(await self._rootfs.image(state), filled, order)
        box.stubs = stubs
        return box

    async def _missing(self, state: State, path: str) -> list[str]:
        """Return the first missing directory above a path and the path; empty if it exists."""
        place, _ = await self._rootfs.resolve(state, path)
        missing = [p for p in (place, *parents(place)) if await self._rootfs.at(state, p) is None]
        return [missing[-1], place] if missing else []

    async def filled(self, mount: Mount, state: State) -> Filled:
        """Return a mount with its content."""
        owner = await self._rootfs.owner(state, mount.owner) if mount.owner else (0, 0)
        match mount.kind:
            case "directory" | "file":
                tree = await self.content(mount)
                own = mount.owner and mount.after is None
                return Filled(mount=mount, tree=chown(tree, *owner) if own else tree)
            case "cache":
                volume, new = await self._engine.boxes.cache(mount.name)
                first = await mount.source() if new and mount.source else Tree()
                tree = chown(first, *owner) if mount.owner else first
                wanted = tree if mount.owner or (new and mount.source) else None
                return Filled(mount=mount, tree=wanted, volume=volume)
            case "secret" if mount.secret is not None:
                return Filled(
                    mount=mount, data=await self._engine.reveal(mount.secret), owner=owner
                )
        return Filled(mount=mount)

    async def _left(self, box: Box, mount: Mount) -> str:
        """Return where the store has a mount's content after a command."""
        store = self._engine.store
        if await self._runner.changed(box, mount):
            box.marked = False
            return store.save(await self._engine.boxes.content(box, mount))
        if mount.after is not None:
            return (await self.result(mount.after)).mounts[mount.path]
        return store.save(await mount.source() if mount.source else Tree())

    async def _make_workdir(self, box: Box, before: Container, state: State) -> None:
        mount = before.covering(before.workdir)
        if mount is None:
            layer = await self._rootfs.laid(state, before.workdir, Tree())
            await self._runner.put(box, layer.entries)
        else:
            inner = clean(before.workdir[len(mount.path) :])
            await self._runner.put(box, {inner: Tree().root}, mount.path)

    def _judge(self, ran: Ran, output: Output) -> None:
        """Raise `ExecFailedError` where an exit code is not what was expected."""
        code = output.code
        ordinary = 0 <= code <= 127 or 192 <= code <= 255
        wanted = {"SUCCESS": code == 0, "FAILURE": ordinary and code != 0, "ANY": ordinary}
        if not wanted[ran.expect]:
            streams = [self.text(output.stdout, SHOWN), self.text(output.stderr, SHOWN)]
            self._engine.options.log(f"failed {shown(ran.args)} with exit code {code}")
            raise ExecFailedError(list(ran.args), code, *streams)

    def text(self, digest: str, limit: int | None = None) -> str:
        """Return a stream as text; past a limit only its end, with where the whole is."""
        store = self._engine.store
        if limit is None:
            return store.read(digest).decode(errors="replace")
        _, end, size = store.ends(digest, last=limit)
        if size <= limit:
            return end.decode(errors="replace")
        whole = end.lstrip(bytes(range(0x80, 0xC0)))  # the cut may go through a character
        cut = f"[{size - len(whole)} bytes cut, all in {store.path(digest)}]"
        return f"{cut}\n{whole.decode(errors='replace')}"


def _edits(files: Files) -> tuple[list[Edit], Image | Ran]:
    """Split files into the edits on top, first one first, and what is below them."""
    edits = []
    while isinstance(files, Edit):
        edits.append(files)
        files = files.below
    return edits[::-1], files


def shown(args: tuple[str, ...]) -> str:
    """Return a command as the log shows it."""
    text = " ".join(args).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."
