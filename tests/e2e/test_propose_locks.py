"""scripts/propose-locks: changed locks become one pull request. Needs git, but no containers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Fork:
    """A clone with scripts/propose-locks, its remote, and a `gh` that records its calls."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.clone, self.calls = folder / "remote", folder / "clone", folder / "calls"
        self.open = folder / "open"
        programs = folder / "bin"
        programs.mkdir()
        gh = programs / "gh"
        record = f'echo "$1 $2" >>{self.calls}'
        gh.write_text(f'#!/bin/sh\n{record}\n[ "$2" != list ] || cat {self.open}\n')
        gh.chmod(0o755)
        self.open.touch()
        self.calls.touch()
        self.environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.git("init", "--quiet", "--bare", str(self.remote), at=folder)
        self.git("init", "--quiet", "--initial-branch=main", str(self.clone), at=folder)
        (self.clone / "locks").mkdir()
        (self.clone / "locks" / "cli.lock").write_text("rich==1\n")
        (self.clone / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "propose-locks", self.clone / "scripts")
        self.git("add", ".")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "first")
        self.git("remote", "add", "origin", str(self.remote))
        self.git("push", "--quiet", "origin", "main")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=at or self.clone, env=self.environ, check=True, capture_output=True
        )
        return done.stdout.decode()

    def propose(self) -> list[str]:
        """Run the script; return the calls of `gh`."""
        self.calls.write_text("")
        command = [self.clone / "scripts" / "propose-locks"]
        subprocess.run(command, env=self.environ, check=True, capture_output=True)
        return self.calls.read_text().splitlines()


@pytest.fixture
def fork(tmp_path: Path) -> Fork:
    return Fork(tmp_path)


def test_unchanged_locks_propose_nothing(fork: Fork) -> None:
    assert fork.propose() == []


def test_changed_locks_become_a_pull_request_of_the_locks_alone(fork: Fork) -> None:
    (fork.clone / "locks" / "cli.lock").write_text("rich==2\n")
    script = fork.clone / "scripts" / "propose-locks"
    script.write_text(script.read_text() + "# an edit of another file\n")
    assert fork.propose() == ["auth setup-git", "pr list", "pr create"]
    assert fork.git("diff", "--name-only", "main", "update-locks").split() == ["locks/cli.lock"]
    pushed = fork.git("rev-parse", "update-locks", at=fork.remote)
    assert pushed == fork.git("rev-parse", "update-locks")


def test_an_open_pull_request_is_updated(fork: Fork) -> None:
    fork.open.write_text("7\n")
    (fork.clone / "locks" / "cli.lock").write_text("rich==2\n")
    assert fork.propose() == ["auth setup-git", "pr list"]
    assert "update-locks" in fork.git("branch", at=fork.remote)
