"""Who imports whom, and when: what an agent imports is the time a rollout waits for it."""

import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

AGENTS = Path(__file__).parents[4] / "agents"
PACKAGES = sorted(folder.name for folder in AGENTS.iterdir() if (folder / "api.py").exists())


def imported(file: Path) -> Iterator[str]:
    """Yield the full name of each module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(file) if name.split(".")[0] == "agents"}


def test_there_are_agents() -> None:
    assert len(PACKAGES) >= 5


@pytest.mark.parametrize("package", PACKAGES)
def test_an_agent_imports_the_common_code_and_itself(package: str) -> None:
    for file in (AGENTS / package).rglob("*.py"):
        assert ours(file) <= {"common", package}, file


def test_the_common_code_imports_no_agent() -> None:
    for file in (AGENTS / "common").rglob("*.py"):
        assert ours(file) <= {"common"}, file


@pytest.mark.parametrize("package", PACKAGES)
def test_logic_is_free_of_the_web_and_of_aws(package: str) -> None:
    names = {name.split(".")[0] for name in imported(AGENTS / package / "logic.py")}
    assert names <= sys.stdlib_module_names


def test_the_health_check_needs_the_standard_library_alone() -> None:
    names = {name.split(".")[0] for name in imported(AGENTS / "healthcheck.py")}
    assert names <= sys.stdlib_module_names


def test_an_agent_starts_without_boto3(start: Start) -> None:
    program = "; ".join(
        (
            "import json, sys, uvicorn, agents.common.server, agents.supervisor.api",
            "from agents.common import app, settings",
            "app.create(settings.read('supervisor', {'ACSO_STATE_TABLE': 't'}),"
            " agents.supervisor.api.router)",
            "print(json.dumps(sorted(sys.modules)))",
        )
    )
    code, said = start("-c", program).ended()
    assert code == 0, said
    loaded = set(json.loads(said))
    assert "fastapi" in loaded
    assert not loaded & {"boto3", "botocore"}
