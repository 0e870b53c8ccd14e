"""From a checkout to validated services and back, with the commands of the README.

Slow, because every test deploys to real containers behind a registry and a load balancer. The tests
run in order on one environment, as a user would; each leaves it deployed and validated.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.config import FILE, load
from tests.e2e.checkout import Checkout, Done, health
from validation import SUITES

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]  # with nothing cached
ROOT = Path(__file__).parents[2]
AGENTS = {agent.name for agent in load(ROOT / FILE).agents}
LOGIC = "agents/threat_hunter/logic.py"
EDIT = "\n# edited\n"
START = "agents/threat_hunter/__main__.py"
#: Passes every quality gate and fails only in an environment: otherwise no release would begin.
BOOM = """\"\"\"Run the agent: `python -m agents.threat_hunter`.\"\"\"

import os

from agents.common.server import run

if "ACSO_ENVIRONMENT" in os.environ:
    raise RuntimeError("boom")
run("agents.threat_hunter")
"""


def edited(text: str) -> str:
    """Add an edit or remove it: both change the version, and the tests of both become cached."""
    return text.removesuffix(EDIT) if text.endswith(EDIT) else text + EDIT


def versions(checkout: Checkout) -> dict[str, str]:
    return {agent: item["version"] for agent, item in checkout.status().items()}


def revisions(checkout: Checkout) -> dict[str, str]:
    return {agent: item["revision"] for agent, item in checkout.status().items()}


def test_a_fresh_checkout_becomes_agents_that_answer_with_the_deployed_version(
    deployed: Done, containers: Callable[..., list[str]]
) -> None:
    result = deployed.document["result"]
    assert result["outcome"] == "deployed"
    services = {item["agent"]: item for item in result["services"]}
    assert set(services) == AGENTS
    for agent, service in services.items():
        answer = health(service["url"])
        assert answer["status"] == "healthy"
        assert answer["agent"] == agent
        assert answer["version"] == service["version"]
        assert answer["digest"] == service["digest"]
    assert sum("-ecs-" in name for name in containers(running=True)) == len(AGENTS)
    stages = {item["stage"]: item["state"] for item in deployed.document["stages"]}
    parts = {"test agents", *(f"test agent {name}" for name in AGENTS)}
    assert {"lint", "typecheck", "secrets", "infrastructure", "release", *parts} <= set(stages)
    # The advisory service does not know every package, and may not answer here.
    assert stages.pop("packages") in {"ok", "not examined"}
    assert set(stages.values()) == {"ok"}
    assert "test pipeline" not in stages  # acso.toml leaves it to `check` and CI


@pytest.mark.usefixtures("deployed")
def test_a_second_deploy_changes_nothing_and_says_so(checkout: Checkout) -> None:
    before = revisions(checkout)
    assert checkout.acso("plan", "--env", "development").code == 0
    done = checkout.deploy()
    assert done.code == 0, done.err
    assert done.document["result"]["outcome"] == "nothing_to_do"
    assert revisions(checkout) == before


@pytest.mark.usefixtures("deployed")
def test_only_the_edited_agent_is_planned_and_rolled_out(
    checkout: Checkout, tmp_path: Path
) -> None:
    before = revisions(checkout)
    checkout.edit(LOGIC, edited)
    file = tmp_path / "plan.json"
    planned = checkout.acso("plan", "--env", "development", "--output", str(file))
    dry = checkout.acso("deploy", "--env", "development", "--dry-run")
    assert (planned.code, dry.code, dry.out) == (2, 2, planned.out)
    plan = json.loads(file.read_text())
    changed = {item["agent"] for item in plan["services"] if item["action"] != "none"}
    assert changed == {"threat-hunter"}
    deploy = ("deploy", "--env", "development", "--json", "--plan", str(file))
    done = checkout.acso(*deploy)
    assert done.code == 0, done.err
    assert done.document["result"]["outcome"] == "deployed"
    after = revisions(checkout)
    assert {agent for agent in AGENTS if after[agent] != before[agent]} == {"threat-hunter"}
    again = checkout.acso(*deploy)  # the plan is outdated: it has been carried out
    assert again.code == 25, again.err
    assert "last validated release" in again.err
    assert "lint" not in again.err  # reported before anything is checked or built
    assert revisions(checkout) == after
    assert checkout.acso("verify", "--env", "development").code == 0


@pytest.mark.usefixtures("deployed")
def test_rollback_returns_to_the_previous_validated_release(
    checkout: Checkout,
) -> None:
    before = versions(checkout)
    checkout.edit(LOGIC, edited)
    assert checkout.deploy().code == 0
    assert versions(checkout) != before
    done = checkout.acso("rollback", "--env", "development", "--json")
    assert done.code == 0, done.err
    assert versions(checkout) == before
    checkout.edit(LOGIC, edited)  # back to the source of what runs


def test_an_agent_that_crashes_at_its_start_is_rolled_back_and_the_reason_is_shown(
    deployed: Done, checkout: Checkout
) -> None:
    before = versions(checkout)
    original = (checkout.root / START).read_text()
    checkout.edit(START, lambda _: BOOM)
    done = checkout.acso("deploy", "--env", "development")
    checkout.edit(START, lambda _: original)
    assert done.code == 40, done.err
    assert "RuntimeError: boom" in done.err
    assert "threat-hunter" in done.err
    assert "exit code 1" in done.err
    assert versions(checkout) == before
    for service in deployed.document["result"]["services"]:
        assert health(service["url"])["version"] == before[service["agent"]]


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_deploy_after_one_that_was_killed_or_interrupted_succeeds(
    how: signal.Signals, checkout: Checkout
) -> None:
    checkout.edit(LOGIC, edited)
    process = checkout.start("deploy", "--env", "development", "--json")
    _until(process, "release:")
    os.killpg(process.pid, how)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGKILL, 130)
    done = checkout.deploy()
    assert done.code == 0, done.err
    services = done.document["result"]["services"]
    assert len({item["agent"] for item in services}) == len(AGENTS)
    assert all(health(item["url"])["version"] == item["version"] for item in services)


def _until(process: "subprocess.Popen[str]", text: str) -> None:
    """Wait for a line of progress that contains the text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


def test_a_mistyped_environment_is_an_error_before_anything_starts(
    checkout: Checkout,
) -> None:
    done = checkout.acso("deploy", "--env", "prodution")
    assert (done.code, done.out) == (2, "")
    error, hint = done.err.splitlines()
    assert error == "error: unknown environment 'prodution' (did you mean 'production'?)"
    assert hint == "  next: ./acso deploy --help"


def test_uncommitted_changes_are_deployed_to_development_only(checkout: Checkout) -> None:
    checkout.edit(LOGIC, lambda text: text + "\n# not committed\n")
    done = checkout.acso("deploy", "--env", "staging", "--aws", "local")
    assert done.code == 2
    assert "uncommitted changes" in done.err


def test_a_real_environment_without_an_account_is_refused(checkout: Checkout) -> None:
    done = checkout.acso("status", "--env", "production")
    assert done.code not in (0, 1)
    assert "account" in done.err


def test_an_engine_that_does_not_answer_is_one_clear_error(checkout: Checkout) -> None:
    done = checkout.acso("check", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.code == 6
    assert "/nonexistent/docker.sock" in done.err
    assert "Traceback" not in done.err


def test_the_unmodified_client_works_in_a_session_of_the_local_engine(checkout: Checkout) -> None:
    script = (
        "import anyio, dagger\n"
        "from dagger import dag\n"
        "async def main():\n"
        "    async with dagger.connection():\n"
        "        base = dag.container().from_('python:3.11-slim')\n"
        "        print(await base.with_exec(['echo', 'hello']).stdout(), end='')\n"
        "anyio.run(main)\n"
    )
    python = str(checkout.root / ".venv" / "bin" / "python")
    done = checkout.acso("engine", "run", "--", python, "-c", script)
    assert (done.code, done.out) == (0, "hello\n"), done.err


def test_engine_run_ends_with_the_exit_code_of_its_command(checkout: Checkout) -> None:
    assert checkout.acso("engine", "run", "--", "sh", "-c", "exit 7").code == 7


@pytest.mark.usefixtures("deployed")
def test_validate_lists_every_check(checkout: Checkout) -> None:
    done = checkout.acso("validate", "--env", "development", "--json")
    assert done.code == 0, done.err
    result = done.document["result"]
    assert [check["check"] for check in result["results"]] == [c.id for c in SUITES["smoke"]]
    assert {check["status"] for check in result["results"]} == {"PASS"}


@pytest.mark.usefixtures("deployed")
def test_down_removes_everything_of_the_instance_and_nothing_of_others(
    checkout: Checkout, containers: Callable[..., list[str]]
) -> None:
    other = _docker("create", "--label", "acso-test-other=1", _base_image(), "true")
    try:
        assert checkout.acso("down").code == 0
        assert containers() == []
        assert _docker("ps", "--all", "--quiet", "--filter", "label=acso-test-other=1")
        again = checkout.acso("down")
        assert again.code == 0
    finally:
        _docker("rm", other)


def _base_image() -> str:
    images = json.loads(
        "[" + ",".join(_docker("images", "--format", "{{json .}}").splitlines()) + "]"
    )
    return str(next(item["ID"] for item in images if item["Repository"].startswith("acso/")))


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
