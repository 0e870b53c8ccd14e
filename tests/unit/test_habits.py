"""The files that help others to join are valid, and run what the repository pins."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
#: Files in .github by the schema that they follow.
SCHEMAS = {
    "dependabot": ["dependabot.yml"],
    "github-issue-config": ["ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": ["ISSUE_TEMPLATE/defect.yml", "ISSUE_TEMPLATE/proposal.yml"],
    "github-workflows": ["workflows/locks.yml", "workflows/pipeline.yml"],
}
#: Programs whose package has another name.
PACKAGES = {"detect-secrets-hook": "detect-secrets", "lint-imports": "import-linter"}


def tool(*command: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(str(command[0]))
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]  # others name a version
    found: list[dict[str, Any]] = config["repos"][0]["hooks"]
    return found


def devcontainer() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    return found


@pytest.mark.parametrize(("schema", "files"), SCHEMAS.items())
def test_files_for_github_are_what_their_schema_allows(schema: str, files: list[str]) -> None:
    paths = [GITHUB / file for file in files]
    done = tool("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    assert done.returncode == 0, done.stdout


def test_every_file_for_github_is_checked_against_a_schema() -> None:
    found = {str(path.relative_to(GITHUB)) for path in GITHUB.rglob("*.yml")}
    assert found == {file for files in SCHEMAS.values() for file in files}


def test_zizmor_finds_nothing_in_workflows_and_dependabot() -> None:
    done = tool("zizmor", "--offline", "--persona", "auditor", "--format", "json", GITHUB)
    assert json.loads(done.stdout) == [], done.stdout
    assert done.returncode == 0


def test_the_workflows_pin_an_action_to_one_commit() -> None:
    pins: dict[str, set[str]] = {}
    for file in (GITHUB / "workflows").iterdir():
        for action, commit in re.findall(r"uses: ([\w/-]+)@(\S+ # v[\d.]+)\n", file.read_text()):
            pins.setdefault(action, set()).add(commit)
    assert {action for action, commits in pins.items() if len(commits) > 1} == set()
    assert "actions/checkout" in pins


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: str(hook["id"]))
def test_a_hook_runs_a_program_of_venv_that_the_lock_pins(hook: dict[str, Any]) -> None:
    program = hook["entry"].split()[0]
    assert hook["language"] == "system"
    assert program.startswith(".venv/bin/")
    name = program.removeprefix(".venv/bin/")
    lock = (ROOT / "locks" / "dev.lock").read_text()
    assert re.search(rf"^{PACKAGES.get(name, name)}==", lock, re.MULTILINE), name


def test_the_hooks_check_what_the_gates_check() -> None:
    gates = (ROOT / "ci" / "stages" / "quality.py").read_text()
    for hook in hooks():
        program, *options = hook["entry"].split()
        assert re.search(rf"[\" ]{Path(program).name}\b", gates), program
        assert all(option in gates for option in options if option.startswith("--disable"))


def test_pre_commit_itself_is_pinned() -> None:
    assert re.search(r"^pre-commit==", (ROOT / "locks" / "dev.lock").read_text(), re.MULTILINE)


def test_the_dev_container_runs_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [value for key, value in devcontainer().items() if key.endswith("Command")]
    assert commands
    assert all(f"\n{command} " in readme for command in commands)


def test_the_dev_container_has_what_the_two_commands_need() -> None:
    container = devcontainer()
    folder = ROOT / ".devcontainer"
    installed = (folder / container["build"]["dockerfile"]).read_text()
    assert {"docker.io", "git", "python3", "python3-venv"} <= set(installed.split())
    # A container engine of its own: root, its rights, and a file system that is no overlay.
    assert container["remoteUser"] == "root"
    assert container["privileged"] is True
    assert "/var/lib/docker" in [mount["target"] for mount in container["mounts"]]


def test_editors_get_the_line_length_that_ruff_checks() -> None:
    length = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
    assert f"max_line_length = {length}\n" in (ROOT / ".editorconfig").read_text()
