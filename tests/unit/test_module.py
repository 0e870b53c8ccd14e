"""The Dagger module is whole: what `dagger.json` includes builds, installs and imports alone."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TELL = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
(found,) = importlib.metadata.entry_points(group="dagger.mod", name="main_object")
functions = found.load().__dagger_module__.get_object("Acso").functions
print(json.dumps(sorted(name for name in functions if name)))
"""


def included(target: Path) -> None:
    """Copy exactly what an engine would get."""
    for pattern in json.loads((ROOT / "dagger.json").read_text())["include"]:
        if pattern.startswith("!"):
            continue
        for path in ROOT.glob(pattern):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def test_a_wheel_of_the_included_files_offers_the_functions(tmp_path: Path) -> None:
    source, wheel, installed = tmp_path / "source", tmp_path / "wheel", tmp_path / "installed"
    included(source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(wheel.iterdir())) as file:
        file.extractall(installed)
    told = subprocess.run(
        [sys.executable, "-c", TELL, str(installed)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert {"check", "deploy", "plan", "rollback", "status"} <= set(json.loads(told.stdout))


def test_everything_the_packages_need_is_included() -> None:
    kinds = {path.suffix for path in (ROOT / "ci").rglob("*") if path.is_file()} - {".pyc"}
    patterns = json.loads((ROOT / "dagger.json").read_text())["include"]
    assert {f"ci/**/*{kind}" for kind in kinds} <= set(patterns)


def test_the_engine_s_client_is_not_pinned_for_the_engine_and_is_in_our_locks() -> None:
    # The engine's runtime brings its own copy and finds no version of it to install.
    assert '"dagger-io"]' in (ROOT / "pyproject.toml").read_text()
    version = json.loads((ROOT / "dagger.json").read_text())["engineVersion"].lstrip("v")
    assert f"dagger-io=={version} " in (ROOT / "locks" / "cli.lock").read_text()
