"""Smoke checks on real containers, by the command that people and pipelines run."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import validation
from tests.local.releases.environment import ROOT, World
from validation import SUITES, Status
from validation.production import performance

pytestmark = pytest.mark.docker
#: `python -m validation`, with the configuration that the environment was deployed from.
PROGRAM = """
import os, sys
from validation import __main__ as program

program.FILE = program.FILE.parent / "tests" / program.FILE.name
sys.exit(program.main(sys.argv[1:], os.environ))
"""


@pytest.fixture
async def deployed(world: World) -> World:
    """The environment with good agents."""
    outcome = await world.deploy(world.images("good"))
    assert outcome.ok, outcome.text()
    return world


async def smoke(world: World, output: Path) -> tuple[int, str, dict[str, Any]]:
    """Run the command; return its exit code, its text and its results."""
    variables = {
        **world.emulator.environ(),
        "ACSO_LOAD_BALANCER": world.emulator.load_balancer,
    }
    command = ["smoke", "--environment", "development", "--output", str(output)]
    done = await anyio.run_process(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=ROOT,
        env=os.environ | variables,
        check=False,
    )
    results = await anyio.Path(output).read_text()  # fails where none were written
    return done.returncode, done.stdout.decode(), json.loads(results)


async def test_healthy_agents_pass_every_check(deployed: World, tmp_path: Path) -> None:
    code, text, results = await smoke(deployed, tmp_path / "results.json")
    assert code == 0, text
    assert results["ok"]
    statuses = {item["check"]: item["status"] for item in results["results"]}
    passed = dict.fromkeys((check.id for check in SUITES["smoke"]), "PASS")
    assert statuses == passed | {"smoke.bedrock": "SKIP"}, text  # there is no model to ask


async def test_a_release_can_be_validated_by_the_suite(deployed: World) -> None:
    context = deployed.context
    report = await validation.run(["smoke"], context, context.outputs.url)
    assert report.ok, report.text()


async def test_what_agents_count_is_read_from_their_tasks(deployed: World) -> None:
    context = deployed.context
    checked = validation.CheckContext(
        aws=context.aws, config=context.config, env=context.env, url=context.outputs.url
    )
    report = await validation.run_checks("performance", performance.CHECKS, checked)
    assert {result.status for result in report.results} == {Status.PASS}, report.text()


async def test_an_agent_scaled_to_0_fails_the_checks(deployed: World, tmp_path: Path) -> None:
    context = deployed.context
    deployed.context.aws.client("ecs").update_service(
        cluster=context.outputs.cluster,
        service=f"{context.env.prefix}-supervisor",
        desiredCount=0,
    )
    code, text, results = await smoke(deployed, tmp_path / "results.json")
    assert code == 1
    found = {item["check"]: Status(item["status"]) for item in results["results"]}
    failed = {name for name, status in found.items() if status is Status.FAIL}
    assert failed == {"smoke.services", "smoke.logs", "smoke.health", "smoke.ready"}
    assert "acso-development-supervisor is scaled to 0" in text
