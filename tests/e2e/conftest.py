"""A copy of the repository with its own embedded AWS; everything is removed at the end."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.checkout import Checkout, Done

ROOT = Path(__file__).parents[2]


def files() -> list[str]:
    """Return the repository's files, new ones included, ignored ones not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def copied(root: Path) -> Path:
    """Copy the repository to a folder, with a clean working tree; return the folder."""
    for name in files():
        copy = root / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    with (root / "acso.toml").open("a") as settings:
        settings.write('[project.unexamined]\npackages = "tests need no advisory service"\n')
    # The environment is shared; test_start.py tests its creation.
    (root / ".venv").symlink_to(ROOT / ".venv")
    for command in (
        ["init", "--quiet", "--initial-branch", "develop"],
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "all"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy with a clean working tree; everything it starts is removed at the end."""
    root = copied(tmp_path_factory.mktemp("checkout"))
    checkout = Checkout(root=root, instance=f"e2e-{os.getpid()}")
    yield checkout
    assert checkout.acso("down").code == 0


@pytest.fixture(scope="session")
def deployed(checkout: Checkout) -> Done:
    """The first deploy of the checkout; only caches exist before."""
    done = checkout.deploy()
    assert done.code == 0, done.err + done.out
    return done


@pytest.fixture
def containers(checkout: Checkout) -> Callable[..., list[str]]:
    """Names of the containers that belong to the checkout's instance; `running`: of those alone."""
    client = docker.from_env()

    def names(*, running: bool = False) -> list[str]:
        label = f"acso.instance={checkout.instance}"
        found = client.containers.list(
            all=not running, filters={"label": label}, ignore_removed=True
        )
        return [str(item.name) for item in found]

    return names
