"""What git says of the checkout and of the commits of releases.

Here because the container of the quality gates, which runs the unit tests, has no git.
"""

import subprocess
from pathlib import Path

import pytest

from ci.cli.checkout import relation
from ci.release import Relation


def git(root: Path, *arguments: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *names, "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(root: Path) -> str:
    git(root, "commit", "--quiet", "--allow-empty", "-m", "one")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def test_a_commit_is_contained_newer_diverged_or_unknown(root: Path) -> None:
    first, second = commit(root), commit(root)
    assert relation(root, first) is Relation.CONTAINED
    assert relation(root, second) is Relation.CONTAINED
    git(root, "checkout", "--quiet", first)
    assert relation(root, second) is Relation.NEWER
    git(root, "commit", "--quiet", "--allow-empty", "-m", "two")
    assert relation(root, second) is Relation.DIVERGED
    assert relation(root, "0" * 40) is Relation.UNKNOWN


def test_where_git_cannot_say_nothing_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert relation(root, "0" * 40) is Relation.CONTAINED  # no commits
    commit(root)
    commit(root)
    assert relation(root, "not a commit") is Relation.CONTAINED
    shallow = tmp_path / "shallow"
    git(root, "clone", "--quiet", "--depth=1", f"file://{root}", str(shallow))
    assert relation(shallow, git(root, "rev-parse", "HEAD~1")) is Relation.CONTAINED
    monkeypatch.setenv("PATH", "")
    assert relation(root, "0" * 40) is Relation.CONTAINED
