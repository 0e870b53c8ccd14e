"""The `acso` script: creates its environment once, from locks with hashes.

Slow, because the first test installs the program's packages as a new user's first command does.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the script and the program need, without an environment."""
    root = tmp_path_factory.mktemp("fresh")
    for name in ("acso", "acso.toml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("ci", "locks", "validation"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    return root


def without_uv() -> dict[str, str]:
    """Return the environment variables with a PATH that has no uv."""
    folders = os.environ["PATH"].split(os.pathsep)
    kept = [folder for folder in folders if not (Path(folder) / "uv").exists()]
    return {**os.environ, "PATH": os.pathsep.join(kept), "NO_COLOR": "1"}


def run(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program, *arguments],
        cwd="/",
        env=without_uv(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_start_creates_the_environment_and_says_so(fresh: Path) -> None:
    done = run(fresh / "acso", "--help")
    assert done.returncode == 0, done.stderr
    assert "deploy" in done.stdout
    assert done.stderr.startswith(f"preparing {fresh / '.venv'}\n")
    assert (fresh / ".venv" / "locked" / "cli.lock").exists()


def test_a_second_start_prepares_nothing_and_works_through_a_symbolic_link(
    fresh: Path, tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(fresh / "acso")
    again = tmp_path / "again"
    again.symlink_to("elsewhere")
    done = run(again, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_bytecode_is_written_to_the_environment_and_not_to_the_source(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    kept = fresh / ".venv" / "bytecode"
    shutil.rmtree(kept)
    assert run(fresh / "acso", "--help").returncode == 0
    assert list(kept.rglob("program.*.pyc"))
    assert not list((fresh / "ci").rglob("__pycache__"))


def test_an_interrupted_installation_is_completed(fresh: Path) -> None:
    shutil.rmtree(fresh / ".venv" / "locked")
    done = run(fresh / "acso", "--help")
    assert done.returncode == 0, done.stderr
    assert (fresh / ".venv" / "locked" / "cli.lock").exists()


def test_packages_with_other_hashes_than_the_locked_ones_are_refused(
    fresh: Path, tmp_path: Path
) -> None:
    root = tmp_path / "tampered"
    shutil.copytree(fresh, root, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    lock = root / "locks" / "uv.lock"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0"))
    done = run(root / "acso", "--help")
    assert done.returncode == 4
    assert "error: the pinned uv could not be installed" in done.stderr


def test_wrong_usage_is_reported(checkout: Checkout) -> None:
    done = checkout.acso("deploi")
    assert done.code == 2
    assert "deploi" in done.err
