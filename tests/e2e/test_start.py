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


def read_only(root: Path) -> list[str]:
    """Make a folder read-only; return how a command that sees it so begins."""
    if os.geteuid() != 0:
        root.chmod(0o555)
        return []
    mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root}"
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]


def test_a_read_only_checkout_has_its_environment_in_the_cache(tmp_path: Path) -> None:
    root, cache = tmp_path / "checkout", tmp_path / "cache"
    root.mkdir()
    shutil.copy(ROOT / "acso", root)
    for name in ("ci", "locks", "validation", "acso.toml"):
        (root / name).symlink_to(ROOT / name)
    begins = read_only(root)

    def start(**environ: str) -> "subprocess.CompletedProcess[str]":
        kept = {"PATH": os.environ["PATH"], **environ}
        line = [*begins, str(root / "acso"), "--help"]
        return subprocess.run(line, env=kept, capture_output=True, text=True, check=False)

    refused = start()
    assert refused.returncode == 4
    assert f"error: {root} cannot be written" in refused.stderr
    number = subprocess.run(
        ["cksum"], input=str(root), capture_output=True, text=True, check=True
    ).stdout
    venv = cache / "acso" / "venv" / number.replace(" ", "").strip()
    venv.parent.mkdir(parents=True)
    venv.symlink_to(ROOT / ".venv")  # the one that exists: another takes long to install
    done = start(XDG_CACHE_HOME=str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    assert "deploy" in done.stdout


def test_an_old_python_alone_is_refused(tmp_path: Path) -> None:
    for name in ("sh", "readlink", "dirname", "cmp", "flock", "id"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.version_info < (3, 11)` gives
    old.chmod(0o755)
    shutil.copy(ROOT / "acso", tmp_path)
    for name in ("locks", "ci"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [tmp_path / "acso", "doctor"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "error: acso needs Python 3.11 or later, and none is on PATH" in done.stderr
