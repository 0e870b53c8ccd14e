"""Two users of one machine: each command of one leaves the other's tasks, images and records alone.

Each has a checkout, a folder of state and one of caches; their instances have the same name. While
one runs commands, the other's environment is locked, as during a release.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import docker
import pytest

from ci import config as configuration
from ci.aws.target import Target
from ci.config.machine import state_home
from ci.engine.store.cache import Store
from ci.local import embedded_aws, paths
from ci.pipeline import environments
from ci.release.model import ReleaseContext
from ci.release.observe.status import status
from ci.release.records import lock
from ci.release.records.history import history
from tests.e2e.checkout import Checkout
from tests.e2e.conftest import copied
from tests.local.releases.environment import reach
from tests.local.test_side_by_side import NOBODY, environment, runs

pytestmark = [
    pytest.mark.docker,
    pytest.mark.matrix,  # 5 minutes: four deploys, one without caches, and other commands
    pytest.mark.timeout(3600),
]
LOGIC = "agents/threat_hunter/logic.py"
#: What this is not about: the gates of a deploy, and how soon a busy machine answers.
EDITS = (
    ("acso.toml", '"lint", "typecheck", "security", "agent-tests"', '"lint"'),
    ("acso.toml", "health_grace = 60 ", "health_grace = 300 "),
    ("acso.toml", "failure_threshold = 1 ", "failure_threshold = 9 "),
)
COMMANDS = [
    "deploy --env development",
    "plan --env development",
    "status --env development",
    "logs --env development",
    "history --env development",
    "verify --env development",
    "validate --env development",
    "run-task --env development --agent supervisor -- true",
    "exec --env development --agent supervisor -- true",
    "unlock --env development --force",
    "rotate-tokens --env development --revoke",
    "doctor",
    "cache --keep 900GB",  # other tests need the first user's
]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a user has: containers and since when they run, names of images, services, records."""

    containers: frozenset[tuple[str, str]]
    images: frozenset[tuple[str, str]]
    services: tuple[tuple[object, ...], ...]
    releases: tuple[tuple[str, str], ...]
    lock: str


@dataclass(frozen=True, kw_only=True)
class User:
    """A user's checkout and folders."""

    checkout: Checkout
    state: Path
    cache: Path

    @contextmanager
    def acts(self) -> Iterator[None]:
        """Let this process look at what the user has."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ACSO_INSTANCE", self.checkout.instance)
            patch.setenv("XDG_STATE_HOME", str(self.state))
            patch.setenv("XDG_CACHE_HOME", str(self.cache))
            yield

    async def context(self) -> ReleaseContext:
        """Return the user's environment."""
        with self.acts():
            running = await embedded_aws.find()
        assert running is not None
        config = configuration.load(self.checkout.root / configuration.FILE)
        env = config.environment("development")
        return await environments.existing(Target(aws=reach(running), config=config, env=env))

    async def sees(self, context: ReleaseContext) -> Seen:
        """Return what the user has, its environment included."""
        found = (await status(context)).data()["services"]
        lease = await lock.current(context)
        return Seen(
            containers=self.containers(),
            images=self.images(f"{context.aws.registry}/"),
            services=tuple((s["service"], s["revision"], s["restarts"], s["drift"]) for s in found),
            releases=tuple((r.id, r.state) for r in (await history(context)).releases),
            lock=lease.token if lease else "",
        )

    async def settled(self, context: ReleaseContext) -> Seen:
        """Return what the user has once the tasks of replaced revisions have ended."""
        with anyio.fail_after(120):
            while True:
                found = await self.sees(context)
                if len(found.containers) == len(found.services) > 0:
                    return found
                await anyio.sleep(0.5)  # between two looks

    def containers(self) -> frozenset[tuple[str, str]]:
        """Return the containers of the user's instance."""
        with self.acts():
            labels = [f"{name}={value}" for name, value in paths.instance_labels().items()]
        mine: dict[str, Any] = {"label": labels}
        found = docker.from_env().containers.list(filters=mine, ignore_removed=True)
        return frozenset((str(item.name), item.attrs["State"]["StartedAt"]) for item in found)

    def images(self, registry: str) -> frozenset[tuple[str, str]]:
        """Return the names of the user's images: of steps, and of the registry."""
        marks = (f":{self.identity()}-", registry)
        return frozenset(
            (name, str(image.id))
            for image in docker.from_env().images.list()
            for name in (*image.tags, *image.attrs["RepoDigests"])
            if any(mark in name for mark in marks)
        )

    def identity(self) -> str:
        """Return the name of the user's store of the local engine."""
        with tempfile.TemporaryDirectory() as folder:  # opened here, it would be this process's
            shutil.copy(self.cache / "acso" / "engine" / "key", folder)
            store = Store(Path(folder))
            try:
                return store.identity
            finally:
                store.close()

    async def runs(self, line: str) -> None:
        """Run a command on the user's environment; it succeeds."""
        done = await anyio.to_thread.run_sync(partial(self.checkout.acso, *line.split()))
        assert done.code == 0, f"{line}: {done.err}{done.out}"


def edited(root: Path) -> Path:
    """Copy the repository to a folder, with the edits; return the folder."""
    copied(root)
    for name, old, new in EDITS:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))
    return root


@pytest.fixture
def one(checkout: Checkout, tmp_path: Path) -> Iterator[User]:
    """The user who runs the tests, with the usual folders."""
    root = edited(tmp_path / "checkout")
    mine = replace(checkout, root=root, instance=f"{checkout.instance}-users")
    try:
        yield User(checkout=mine, state=state_home().parent, cache=paths.cache_dir().parent)
    finally:
        assert mine.acso("down").code == 0


@pytest.fixture
def two(one: User) -> Iterator[User]:
    """Another user, if this is root; in any case with other folders and no caches."""
    with tempfile.TemporaryDirectory() as folder:  # others may not look into pytest's own
        home = Path(folder)
        root = edited(home / "checkout")
        user = other_user(root)
        state, cache = home / ".local" / "state", home / ".cache"
        variables = {"HOME": folder, "XDG_STATE_HOME": str(state), "XDG_CACHE_HOME": str(cache)}
        other = replace(one.checkout, root=root, user=user, variables=variables)
        try:
            yield User(checkout=other, state=state, cache=cache)
        finally:
            assert other.acso("down", "--cache").code == 0


def other_user(root: Path) -> tuple[str, ...]:
    """Give a checkout and its folder to an ordinary user who may use the container engine.

    Return how that user's commands begin. It is the same user if this one is not root, or if others
    may not read Python and its packages.
    """
    if os.geteuid() != 0:
        return ()
    venv = root / ".venv"
    locked = venv.resolve() / "locked"
    venv.unlink()
    environment(venv, Path("/usr/bin/python3"))
    shutil.copytree(locked, venv / "locked")
    subprocess.run(["chown", "--recursive", f"{NOBODY}:{NOBODY}", str(root.parent)], check=True)
    group = Path("/var/run/docker.sock").stat().st_gid
    # `env`, because setpriv itself may still execute what only root may.
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}")
    user = ("setpriv", *ids, "env")
    program = [*user, str(venv / "bin" / "python"), "-c", "import docker, ministack, dagger"]
    if runs(program).returncode == 0:
        return user
    shutil.rmtree(venv)
    venv.symlink_to(locked.parent)
    return ()


async def alternately(one: User, two: User) -> None:
    """Run each command for one user while the other's environment is locked and watched."""
    await one.runs("deploy --env development")
    first = await one.context()

    async def second_runs(_: lock.HeldLock) -> None:
        before = await one.settled(first)
        assert before.lock
        assert before.images
        for line in [*COMMANDS, "cache --all"]:
            await two.runs(line)
            assert await one.sees(first) == before, line

    await lock.under_lock(first, "test", print, second_runs)
    second = await two.context()

    async def first_runs(_: lock.HeldLock) -> None:
        before = await two.settled(second)
        assert before.lock
        one.checkout.edit(LOGIC, lambda text: text + "\n# edited\n")
        for line in [*COMMANDS, "rollback --env development"]:
            await one.runs(line)
            assert await two.sees(second) == before, line

    await lock.under_lock(second, "test", print, first_runs)
    before = await one.settled(first)
    await two.runs("down --cache")
    assert not two.containers()
    assert await one.sees(first) == before


def test_each_command_leaves_the_other_user_s_things_alone(one: User, two: User) -> None:
    anyio.run(alternately, one, two)
