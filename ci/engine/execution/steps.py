"""Commands of a container: executed, or found cached."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from ci.common import locks
from ci.engine.docker.docker_api import REPOSITORY, DaemonError
from ci.engine.errors import CacheError
from ci.engine.execution import cache_volumes
from ci.engine.execution.commands import Command, CommandOutput, CommandRunner, GoneError
from ci.engine.execution.containers import MountContent, StepContainer
from ci.engine.execution.keys import Keys
from ci.engine.execution.outputs import ExecResult, failed, failure, shorten
from ci.engine.execution.recording import Recorder
from ci.engine.execution.resources import BoundServices, Resources, Reveal
from ci.engine.files.contents import ContainerFiles, split
from ci.engine.files.rootfs import State
from ci.engine.sources.secrets import as_text
from ci.engine.store import edits, overlay
from ci.engine.store.edits import resolve
from ci.engine.store.overlay import Layer
from ci.engine.store.patterns import parents
from ci.engine.store.tree import FOLDER, Tree, chown, clean
from ci.engine.values import CONTENT_MOUNTS, Container, Edit, Exec, Mount, visible

#: Commands that run at once.
PARALLEL = 8
NO_WORKDIR = b"chdir to cwd"


class Steps:
    """Executes the steps that are not cached, each one once."""

    def __init__(
        self,
        resources: Resources,
        keys: Keys,
        reveal: Reveal,
        bindings: Callable[[], BoundServices],
    ) -> None:
        self._options = resources.options
        self._store = resources.store
        self._daemon = resources.daemon
        self._rootfs = resources.rootfs
        self._containers = resources.containers
        self._flights = resources.flights
        self._group = resources.group
        self._keys = keys
        self.files = ContainerFiles(resources.rootfs, keys.of, self.result)
        self._reveal = reveal
        self._bindings = bindings
        self._runner = CommandRunner(resources.store, resources.daemon, resources.containers)
        self._recorder = Recorder(resources.store, resources.daemon, self._runner)
        self._limiter = anyio.CapacityLimiter(PARALLEL)
        self._results: dict[str, ExecResult] = {}

    # --- results ------------------------------------------------------------------------------
    async def result(self, step: Exec, *, image: bool = False) -> ExecResult:
        """Return what a command left, from the cache or by executing it.

        With `image`, a cached result counts only while its image exists.
        """
        key = await self._keys.of(step)
        found = await self._cached(step, key, image=image)
        if found is not None:
            return found
        execute = self._execute_exclusively
        return await self._flights.run(f"exec {key}", lambda: execute(step, key, image=image))

    async def _cached(self, step: Exec, key: str, *, image: bool) -> ExecResult | None:
        found = self._recorded(key, step)
        return found if found and (not image or await self._has_files(found)) else None

    async def _has_files(self, found: ExecResult) -> bool:
        """Return whether the files that a command left are complete."""
        if await self._daemon.image(found.image) is None:
            return False
        try:
            self._rootfs.loaded(found.image, found.layers)
        except CacheError:
            return False
        return True

    def _recorded(self, key: str, step: Exec) -> ExecResult | None:
        if key not in self._results:
            known = self._store.get(key)
            if known is None or not self._store.has(known["combined"]):
                return None
            self._results[key] = ExecResult(**known)
            self._options.log(f"cached {shorten(step.args)}")
        return self._results[key]

    async def _execute_exclusively(self, step: Exec, key: str, *, image: bool) -> ExecResult:
        """Execute a command unless another process with the same cache has just done so."""
        await self._execute_inputs(step)
        async with locks.held(self._store.root / "locks" / key, keep=False):
            return await self._cached(step, key, image=image) or await self._execute(step, key)

    async def _execute_inputs(self, step: Exec) -> None:
        """Execute what a command needs before it takes a lock or one of the parallel slots.

        A chain that is longer than the number of slots would otherwise wait for itself.
        """
        _, base = split(step.before.files)
        if isinstance(base, Exec):
            await self.result(base, image=True)
        for mount in step.before.mounts:
            if mount.after is not None:
                await self.result(mount.after)

    async def _execute(self, step: Exec, key: str) -> ExecResult:
        command = await self.command(step, key)
        started = time.monotonic()
        async with self.mounts(step) as mounts, self._limiter:
            command = replace(command, mounts=mounts)
            run = partial(self._run_and_commit, step, command)
            result = await self._bindings().while_running(step.before, run)
        self._options.log(f"exec {shorten(step.args)} {time.monotonic() - started:.1f} s")
        self._results[key] = result
        self._store.set(key, vars(result))
        return result

    def mounts(self, step: Exec) -> AbstractAsyncContextManager[tuple[Mount, ...]]:
        """Lock the caches of a command; the mounts in the block have the names of their volumes."""
        return cache_volumes.held(self._store, step.before.mounts, partial(self._owner, step))

    async def _owner(self, step: Exec, owner: str) -> tuple[int, int]:
        return await self.files.owner(await self.files.view(step.before.files), owner)

    async def command(self, step: Exec, key: str) -> Command:
        """Return a command with everything that it needs; starts the services bound to it."""
        before = step.before
        secrets = [(name, await self._reveal(call)) for name, call in before.secrets]
        mounted = [await self._reveal(m.secret) for m in before.mounts if m.secret]
        return Command(
            key=key,
            args=step.args,
            env={
                **self._options.exec_env,
                **dict((*before.env, *before.volatile)),
                **{name: as_text(name, value) for name, value in secrets},
            },
            user=before.user,
            workdir=before.workdir or "/",
            stdin=await self._stdin(step),
            mounts=before.mounts,
            hosts=await self._bindings().start_all(before),
            hidden=(*(value for _, value in secrets), *mounted),
        )

    async def _stdin(self, step: Exec) -> bytes:
        """Return the standard input of a command: a text, a mounted secret or another file."""
        if not step.redirect_stdin:
            return step.stdin.encode()
        place = step.before.absolute(step.redirect_stdin)
        for mount in step.before.mounts:
            if mount.secret is not None and mount.path == place:
                return await self._reveal(mount.secret)
        return self._store.read((await self.files.tree(step.before, place)).root.content)

    # --- containers ---------------------------------------------------------------------------
    async def _run_and_commit(self, step: Exec, command: Command) -> ExecResult:
        container, output = await self._run(step, command)
        keep = False
        try:
            if failed(step, output.code):
                self._options.log(f"failed {shorten(step.args)} with exit code {output.code}")
                raise failure(self._store, step, output)
            state, reusable = await self._recorder.left(container, command)
            if container.dedicated:
                state = await self._without_config(state, command)
            content = [m for m in command.mounts if m.kind in CONTENT_MOUNTS]
            seen = visible(command.mounts)
            mounts = {m.path: await self._mount_after(container, m, m in seen) for m in content}
            container.state, keep = state, reusable
        finally:
            if not keep:
                self._discard(container)
        if keep:
            shape = await self._keys.shape(command)
            for old in self._runner.keep_idle(command.key, shape, container):
                self._discard(old)
        points = container.mount_points + [["dev/acso", "dev/acso"]] * container.files_added
        return ExecResult(
            image=state.image,
            layers=self._rootfs.saved(state),
            mounts=mounts,
            mount_points=points,
            **vars(output),
        )

    def _discard(self, container: StepContainer) -> None:
        """Remove a container without waiting for it."""
        self._group.start_soon(self._containers.drop, container)

    async def _run(self, step: Exec, command: Command) -> tuple[StepContainer, CommandOutput]:
        """Run a command in the container that idles for it, in a new one if that is gone."""
        container, state = await self._container(step, command)
        try:
            return container, await self._run_in(container, step, command, state)
        except GoneError:
            if not container.reused:
                raise
        state = await self.files.state(step.before.files)
        container = await self._new_container(command, state)
        return container, await self._run_in(container, step, command, state)

    async def _run_in(
        self, container: StepContainer, step: Exec, command: Command, state: State
    ) -> CommandOutput:
        try:
            output = await self._runner.run(container, command)
            head, _, _ = self._store.head_and_tail(output.combined, first=500)
            if output.code == 1 and NO_WORKDIR in head:
                await self._make_workdir(container, step.before, state)
                output = await self._runner.run(container, command)
        except BaseException:
            await self._containers.drop(container)
            raise
        return output

    async def _without_config(self, state: State, command: Command) -> State:
        """Return the files of a dedicated container in an image without its configuration.

        The environment in the configuration holds secrets, which must not stay.
        """
        bare = await self._rootfs.compose(state, {})
        remove = self._daemon.client.remove_image
        await self._daemon.call(remove, f"{REPOSITORY}:{self._store.tag(command.key)}")
        return State(image=bare)

    async def _container(self, step: Exec, command: Command) -> tuple[StepContainer, State]:
        """Return a running container with a command's files and mounts, and its state."""
        changes, base = split(step.before.files)
        if isinstance(base, Exec) and await self._mounts_follow(step.before.mounts, base):
            key, shape = await self._keys.of(base), await self._keys.shape(command)
            container = self._runner.take_idle(key, shape)
            live = await self._catch_up(container, changes) if container is not None else None
            if container is not None and live is not None:
                return container, live
        state = await self.files.state(step.before.files)
        return await self._new_container(command, state), state

    async def _mounts_follow(self, mounts: tuple[Mount, ...], base: Exec) -> bool:
        """Return whether all mounted content is what a command left, without a change since."""
        key = await self._keys.of(base)
        content = [mount for mount in mounts if mount.kind in CONTENT_MOUNTS]
        after = [None if mount.edits else mount.after for mount in content]
        return all([each is not None and await self._keys.of(each) == key for each in after])

    async def _catch_up(self, container: StepContainer, changes: list[Edit]) -> State | None:
        """Apply edits to an idle container; discard it and return None where that is impossible."""
        done = False
        try:
            state, whole = container.state, Layer()
            for edit in changes:
                layer = await self.files.layer(state, edit.change)
                state, whole = state.after(layer), overlay.merge(whole, layer)
            if whole.removed:
                return None
            if whole.entries:
                await self._recorder.put(container, whole)
            container.state, done = state, True
            return state
        except DaemonError as error:
            if error.status != 404:
                raise
            return None
        finally:
            if not done:
                self._discard(container)

    async def dedicated(self, step: Exec, command: Command, **settings: Any) -> StepContainer:
        """Return a new container whose own process is a command, not yet started."""
        state = await self.files.state(step.before.files)
        contents = await self._mount_contents(command, state)
        image = await self._rootfs.image(state)
        return await self._runner.dedicated(image, contents, command, **settings)

    async def _new_container(self, command: Command, state: State) -> StepContainer:
        contents = await self._mount_contents(command, state)
        points = [await self._missing_point(state, mount.path) for mount in command.mounts]
        image = await self._rootfs.image(state)
        container = await self._runner.new_container(image, contents, command)
        container.mount_points = [point for point in points if point]
        container.state = state
        await self._recorder.begin(container)
        return container

    async def _missing_point(self, state: State, path: str) -> list[str]:
        """Return the first missing directory above a path and the path; empty if it exists."""
        place, _ = await resolve(self._rootfs.view(state), path)
        missing = [
            each
            for each in (place, *parents(place))
            if await self._rootfs.entry_at(state, each) is None
        ]
        return [missing[-1], place] if missing else []

    # --- mounts -------------------------------------------------------------------------------
    async def _mount_contents(self, command: Command, state: State) -> list[MountContent]:
        return [await self._mount_content(mount, state) for mount in visible(command.mounts)]

    async def _mount_content(self, mount: Mount, state: State) -> MountContent:
        owner = (0, 0)
        if mount.owner:
            owner = await self.files.owner(self._rootfs.view(state), mount.owner)
        match mount.kind:
            case "directory" | "file":
                return MountContent(mount=mount, tree=await self.files.content(mount))
            case "cache":
                tree = await mount.source() if mount.source else Tree()
                tree = chown(tree, *owner) if mount.owner else tree
                first = tree if mount.source or mount.owner else None
                image = await self._rootfs.image(state)
                volume = await self._containers.cache_volume(mount.name, image, first)
                return MountContent(mount=mount, volume=volume)
            case "secret" if mount.secret is not None:
                data = await self._reveal(mount.secret)
                return MountContent(mount=mount, data=data, owner=owner)
        return MountContent(mount=mount)

    async def _mount_after(self, container: StepContainer, mount: Mount, seen: bool) -> str:
        """Return where the store has a mount's content after a command that may have seen it."""
        if seen and await self._recorder.changed(container, mount):
            container.mark_valid = False
            return self._store.save(await self._containers.content(container, mount))
        if mount.after is not None and not mount.edits:
            return (await self.result(mount.after)).mounts[mount.path]
        return self._store.save(await self.files.content(mount))

    async def _make_workdir(
        self, container: StepContainer, before: Container, state: State
    ) -> None:
        mount = before.covering(before.workdir)
        if mount is None:
            view = self._rootfs.view(state)
            layer = await edits.new_directory(view, before.workdir, FOLDER.mode)
            await self._runner.put(container, layer)
        else:
            inner = clean(before.workdir[len(mount.path) :])
            await self._runner.put(container, Layer(entries={inner: FOLDER}), mount.path)
