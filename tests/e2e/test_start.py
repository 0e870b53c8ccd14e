"""The `acso` script: an environment from the hashed locks, made once, from anywhere.

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
    """A checkout without an environment, holding what the script and the program need."""
    root = tmp_path_factory.mktemp("fresh")
    for name in ("acso", "acso.toml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("ci", "locks", "validation"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    return root


def without_uv() -> dict[str, str]:
    """Return the environment with no uv on PATH, as on a machine that never had it."""
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


def test_the_first_start_makes_the_environment_and_says_so(fresh: Path) -> None:
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


def test_compiled_code_is_kept_in_the_environment_and_never_in_the_source(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    kept = fresh / ".venv" / "bytecode"
    shutil.rmtree(kept)
    assert run(fresh / "acso", "--help").returncode == 0
    assert list(kept.rglob("cli.*.pyc"))
    assert not list((fresh / "ci").rglob("__pycache__"))


def test_an_environment_that_was_cut_off_while_being_filled_is_filled_again(fresh: Path) -> None:
    shutil.rmtree(fresh / ".venv" / "locked")
    done = run(fresh / "acso", "--help")
    assert done.returncode == 0, done.stderr
    assert (fresh / ".venv" / "locked" / "cli.lock").exists()


def test_packages_that_are_not_the_locked_ones_are_refused(fresh: Path, tmp_path: Path) -> None:
    root = tmp_path / "tampered"
    shutil.copytree(fresh, root, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    lock = root / "locks" / "uv.lock"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0"))
    done = run(root / "acso", "--help")
    assert done.returncode == 4
    assert "error: the pinned uv could not be installed" in done.stderr


def test_wrong_usage_is_told_without_starting_anything(checkout: Checkout) -> None:
    done = checkout.acso("deploi")
    assert done.code == 2
    assert "deploi" in done.err
