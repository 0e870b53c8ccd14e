"""Two users with a checkout each, on one machine and one container engine.

Long, as each deploys for the first time and Debian's packages are installed again: four minutes.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.checkout import Checkout, Done

pytestmark = [pytest.mark.docker, pytest.mark.matrix]
DEVELOPMENT = ("--env", "development")


@dataclass(frozen=True, kw_only=True)
class User:
    """A user's checkout, and the folders of their state and caches."""

    checkout: Checkout
    home: Path

    def acso(self, *arguments: str) -> Done:
        """Run a command of the user's."""
        folders = {
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }
        return self.checkout.acso(*arguments, **folders)

    def versions(self) -> dict[str, tuple[str, int]]:
        """Return the version of each agent that runs for the user, and the number of its tasks."""
        done = self.acso("status", *DEVELOPMENT, "--json")
        assert done.code == 0, done.err
        services = done.document["result"]["services"]
        return {item["agent"]: (item["version"], item["running"]) for item in services}

    def base(self) -> dict[str, Any]:
        """Return the record of the user's base image."""
        [record] = (self.home / "cache" / "acso" / "base").glob("*.json")
        found: dict[str, Any] = json.loads(record.read_text())
        return found


@pytest.fixture
def users(checkout: Checkout, tmp_path: Path) -> Iterator[tuple[User, User]]:
    """Two users whose instances have the same name."""
    root = tmp_path / "another checkout"
    shutil.copytree(checkout.root, root, symlinks=True)
    other = Checkout(root=root, instance=checkout.instance)
    one = User(checkout=checkout, home=tmp_path / "one")
    two = User(checkout=other, home=tmp_path / "two")
    yield one, two
    for user in (one, two):
        assert user.acso("down", "--cache").code == 0


def containers(instance: str) -> set[str]:
    """Return the ids of the running containers of all instances with a name."""
    label = f"acso.instance={instance}"
    return {str(item.id) for item in docker.from_env().containers.list(filters={"label": label})}


def test_each_command_of_one_leaves_tasks_images_and_records_of_the_other_alone(
    users: tuple[User, User],
) -> None:
    one, two = users
    deployed = one.acso("deploy", *DEVELOPMENT)
    assert deployed.code == 0, deployed.err
    mine, running = one.versions(), containers(one.checkout.instance)
    history = one.acso("history", *DEVELOPMENT).out
    for command in (
        ("up",),
        ("deploy", *DEVELOPMENT),
        ("status", *DEVELOPMENT),
        ("unlock", *DEVELOPMENT),
        ("engine", "run", "--", "true"),
        ("cache", "--all"),
        ("down",),
        ("down", "--cache"),
    ):
        done = two.acso(*command)
        assert done.code == 0 or command[0] == "unlock", done.err  # there is no lock to break
        if command[0] == "status":
            assert two.versions() == mine
        assert running <= containers(one.checkout.instance), command
        assert one.acso("history", *DEVELOPMENT).out == history, command
    assert one.versions() == mine
    planned = one.acso("plan", *DEVELOPMENT)
    assert planned.code == 0, planned.out


def test_a_base_image_made_again_from_nothing_changes_nothing(users: tuple[User, User]) -> None:
    one, _ = users
    deployed = one.acso("deploy", *DEVELOPMENT)
    assert deployed.code == 0, deployed.err
    before = one.base()
    renewed = one.acso("up", "--renew")
    assert renewed.code == 0, renewed.err
    assert "creating tarball" in renewed.err  # by mmdebstrap
    assert one.base() == before
    planned = one.acso("plan", *DEVELOPMENT)
    assert planned.code == 0, planned.out
