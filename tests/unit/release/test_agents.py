"""Agents that come, go and change: services and infrastructure move together, and back together."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from ci import release
from ci.config import Agent
from ci.errors import InfrastructureError, NothingToRollBackError, VerifyError
from ci.release import OutcomeKind
from ci.release.plan.changes import Action, plan
from ci.release.plan.desired import desired_service
from ci.release.records import stacks, table
from ci.release.records.release import State
from ci.release.records.table import history
from tests.unit.release.conftest import CONFIG, ENV, REQUEST, Pipeline, ValidationResult
from tests.unit.release.fakes.stack import Account, with_stack
from tests.unit.release.test_killed import MOST_CALLS, STEPS, kill

SUPERVISOR, HUNTER, *OTHERS = CONFIG.agents
SUPERVISOR = dataclasses.replace(SUPERVISOR, calls=())
REVIEW = dataclasses.replace(HUNTER, name="code-review")
Process = Callable[..., Pipeline]


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def process(pipeline: Pipeline, account: Account) -> Process:
    """Returns a process whose acso.toml has the given agents."""
    return lambda *agents, **changes: with_stack(
        pipeline.another(), account, CONFIG, *agents, **changes
    )


async def deploy(
    process: Pipeline, version: str = "good", *, valid: bool = True
) -> release.Outcome:
    """Deploy one version of every agent; the validation asks for the agents of the release."""
    names = [agent.name for agent in process.context.config.agents]
    images = [
        release.Image(agent=name, version=version, reference=f"registry/{name}@sha256:{version}")
        for name in names
    ]

    async def validate(context: release.ReleaseContext) -> ValidationResult:
        assert [agent.name for agent in context.config.agents] == names
        return ValidationResult(ok=valid)

    return await release.deploy(
        process.context, images, REQUEST, validate, process.lines.append, process.options
    )


def running(process: Pipeline) -> dict[str, str]:
    found = process.world.running()
    return {name.removeprefix(f"{ENV.prefix}-"): version for name, version in found.items()}


def settings(process: Pipeline, agent: Agent) -> dict[str, Any]:
    """Return the load balancer's block and the grace period of an agent's service."""
    request = process.world.services[ENV.service(agent)].request
    (block,) = request["loadBalancers"]
    return {"port": block["containerPort"], "grace": request["healthCheckGracePeriodSeconds"]}


async def test_an_agent_that_is_removed_goes_after_the_release_has_succeeded(
    process: Process, account: Account
) -> None:
    assert (await deploy(process(SUPERVISOR, HUNTER))).ok
    fewer = process(SUPERVISOR)
    outcome = await deploy(fewer, "good-2", valid=False)
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert running(fewer) == {"supervisor": "good", "threat-hunter": "good"}
    assert set(account.agents) == {"supervisor", "threat-hunter"}

    outcome = await deploy(fewer, "good-2")
    assert (outcome.kind, outcome.notes) == (OutcomeKind.DEPLOYED, ())
    assert running(fewer) == {"supervisor": "good-2"}
    assert set(account.agents) == {"supervisor"}
    again = await deploy(fewer, "good-2")
    assert again.kind is OutcomeKind.NOTHING_TO_DO


async def test_a_plan_lists_what_is_removed(process: Process) -> None:
    await deploy(process(SUPERVISOR, HUNTER))
    fewer = process(SUPERVISOR)
    known = (await history(fewer.context)).services
    image = release.Image(agent="supervisor", version="good", reference="r@sha256:good")
    found = await plan(fewer.context, [image], known)
    assert [(change.agent, change.action) for change in found.changes] == [
        ("supervisor", Action.CHANGE),
        ("threat-hunter", Action.REMOVE),
    ]
    assert "threat-hunter  remove" in found.text()
    assert found.data()["services"][1]["version"] == {"from": "good", "to": None}


async def test_a_rollback_brings_a_removed_agent_back(process: Process, account: Account) -> None:
    await deploy(process(SUPERVISOR, HUNTER))
    fewer = process(SUPERVISOR)
    await deploy(fewer, "good-2")
    outcome = await fewer.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert outcome.notes == (
        "supervisor: good-2 (revision 2) -> good (revision 1)",
        "threat-hunter: none -> good (revision 1)",
    )
    assert running(fewer) == {"supervisor": "good", "threat-hunter": "good"}
    assert set(account.agents) == {"supervisor", "threat-hunter"}
    assert (await release.status(fewer.context)).ok


async def test_a_removed_agent_comes_back_on_the_capacity_that_somebody_gave_it(
    process: Process,
) -> None:
    both, name = process(SUPERVISOR, HUNTER), ENV.service(HUNTER)
    await deploy(both)
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    both.world.services[name].request["capacityProviderStrategy"] = spot
    await deploy(both, "good-2")
    assert both.world.services[name].request["capacityProviderStrategy"] == spot
    fewer = process(SUPERVISOR)
    await deploy(fewer, "good-3")
    assert (await fewer.rollback()).kind is OutcomeKind.RESTORED
    made = fewer.world.services[name].request
    assert made["capacityProviderStrategy"] == spot
    assert "launchType" not in made


async def test_a_rollback_past_the_release_that_added_an_agent_removes_it(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))
    more = process(SUPERVISOR, HUNTER)
    await deploy(more, "good-2")
    outcome = await more.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert outcome.notes == (
        "supervisor: good-2 (revision 2) -> good (revision 1)",
        "threat-hunter: good-2 (revision 1) -> none",
    )
    assert running(more) == {"supervisor": "good"}
    assert set(account.agents) == {"supervisor"}
    assert (await release.status(more.context)).ok


async def test_an_added_agent_that_fails_leaves_nothing_behind(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))
    outcome = await deploy(process(SUPERVISOR, HUNTER), "crash")
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert running(process()) == {"supervisor": "good"}
    assert set(account.agents) == {"supervisor"}


async def test_a_renamed_agent_is_added_first_and_removed_last(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR, HUNTER))
    renamed = process(SUPERVISOR, REVIEW)
    assert (await deploy(renamed)).ok
    assert running(renamed) == {"supervisor": "good", "code-review": "good"}
    assert set(account.agents) == {"supervisor", "code-review"}
    await renamed.rollback()
    assert running(renamed) == {"supervisor": "good", "threat-hunter": "good"}
    assert set(account.agents) == {"supervisor", "threat-hunter"}


async def test_a_changed_port_path_size_and_grace_go_back_with_the_release(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))
    before = account.stack
    moved = dataclasses.replace(SUPERVISOR, port=9000, health_path="/alive")
    other = process(moved, health_grace=200, memory=2048)
    assert (await deploy(other, valid=False)).kind is OutcomeKind.ROLLED_BACK
    assert settings(other, SUPERVISOR) == {"port": 8000, "grace": ENV.health_grace}
    assert account.stack == before

    assert (await deploy(other)).ok
    assert settings(other, SUPERVISOR) == {"port": 9000, "grace": 200}
    assert account.agents["supervisor"]["HealthPath"] == "/alive"
    outcome = await other.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert settings(other, SUPERVISOR) == {"port": 8000, "grace": ENV.health_grace}
    assert account.stack == before


async def test_a_release_of_infrastructure_alone_is_recorded_and_rolled_back(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))
    longer = process(SUPERVISOR, log_retention=90)
    assert (await deploy(longer)).kind is OutcomeKind.DEPLOYED
    assert account.stack is not None
    assert account.stack.parameters["LogRetention"] == "90"
    assert (await deploy(longer)).kind is OutcomeKind.NOTHING_TO_DO
    await longer.rollback()
    assert account.stack.parameters["LogRetention"] == str(ENV.log_retention)


async def test_services_are_not_touched_if_the_infrastructure_cannot_be_extended(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))
    account.refused = "extend"
    with pytest.raises(InfrastructureError):
        await deploy(process(SUPERVISOR, HUNTER), "good-2")
    assert running(process()) == {"supervisor": "good"}
    assert len((await history(process(SUPERVISOR).context)).releases) == 1


async def test_what_cannot_be_removed_is_a_note_and_the_next_deploy_removes_it(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR, HUNTER))
    account.refused = "complete"
    fewer = process(SUPERVISOR)
    outcome = await deploy(fewer, "good-2")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert "infrastructure that is not needed any more is left: stack acso-" in outcome.notes[0]
    assert set(account.agents) == {"supervisor", "threat-hunter"}
    account.refused = ""
    assert (await deploy(fewer, "good-2")).kind is OutcomeKind.NOTHING_TO_DO
    assert set(account.agents) == {"supervisor"}


async def test_a_template_is_stored_once_and_deleted_with_the_last_record_of_it(
    process: Process,
) -> None:
    longest = process(SUPERVISOR, keep_releases=2)
    await deploy(longest)
    await deploy(longest, "good-2")
    stored = [key for key in longest.world.items if key[0] == stacks.KIND]
    assert len(stored) == 1
    for number in (3, 4):
        await deploy(process(SUPERVISOR, HUNTER, keep_releases=2), f"good-{number}")
    assert [key for key in longest.world.items if key[0] == stacks.KIND] != stored
    assert len([key for key in longest.world.items if key[0] == stacks.KIND]) == 1


async def test_a_killed_release_that_removes_an_agent_is_undone_by_rollback(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR, HUNTER))
    before = account.stack
    fewer = process(dataclasses.replace(SUPERVISOR, health_path="/alive"))
    past = await history(fewer.context)
    # What a process leaves that dies after it has extended the stack and recorded the release.
    assert past.current is not None
    half = dataclasses.replace(
        past.current, id="2026.11.24-2", state=State.DEPLOYING, agents=fewer.context.config.agents
    )
    await table.write(fewer.context, half, "dead")
    assert fewer.context.infrastructure is not None
    wanted = fewer.context.infrastructure.desired()
    await fewer.context.infrastructure.extend(wanted, fewer.lines.append)
    assert account.stack != before
    assert (await fewer.rollback()).kind is OutcomeKind.RESTORED
    assert account.stack == before
    assert running(fewer) == {"supervisor": "good", "threat-hunter": "good"}


def test_settings_are_recorded_as_json(process: Process) -> None:
    found = desired_service(
        process(SUPERVISOR).context, release.Image(agent="supervisor", version="v")
    )
    assert set(json.loads(found.arguments)) == {
        "deploymentConfiguration",
        "enableExecuteCommand",
        "healthCheckGracePeriodSeconds",
        "loadBalancers",
        "networkConfiguration",
    }


async def test_a_release_that_is_refused_leaves_no_infrastructure(
    process: Process, account: Account
) -> None:
    await deploy(process(SUPERVISOR))

    async def refuse(context: release.ReleaseContext) -> None:
        assert set(context.outputs.target_groups) == {"supervisor", "threat-hunter"}
        raise VerifyError("the role is missing")

    with pytest.raises(VerifyError, match="the role is missing"):
        await deploy(process(SUPERVISOR, HUNTER).behaving(verify=refuse), "good-2")
    assert set(account.agents) == {"supervisor"}
    assert running(process(SUPERVISOR)) == {"supervisor": "good"}


async def test_a_record_of_an_earlier_version_is_no_hindrance(
    process: Process, account: Account
) -> None:
    """It has neither agents nor a stack nor settings; an agent of it is not in acso.toml."""
    await deploy(process(SUPERVISOR, HUNTER))
    fewer = process(SUPERVISOR)
    for key, item in fewer.world.items.items():
        if key[0] == table.KIND:
            body = json.loads(item["body"]["S"])
            for name in ("agents", "stack", "format"):
                del body[name]
            for entry in body["entries"]:
                del entry["after"]["settings"]
            item["body"]["S"] = json.dumps(body)
    assert (await deploy(fewer, "good-2", valid=False)).kind is OutcomeKind.ROLLED_BACK
    assert running(fewer) == {"supervisor": "good", "threat-hunter": "good"}
    assert set(account.agents) == {"supervisor", "threat-hunter"}
    assert (await deploy(fewer, "good-2")).ok
    assert running(fewer) == {"supervisor": "good-2"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", ["deploy", "rollback"])
async def test_a_rename_killed_at_any_call_is_finished_or_undone(
    new: Callable[[], Pipeline], step: int, after: str
) -> None:
    old, renamed = (SUPERVISOR, HUNTER), (SUPERVISOR, REVIEW)
    for at in range(0, MOST_CALLS, step):
        account, pipeline = Account(), new()
        await deploy(with_stack(pipeline.another(), account, CONFIG, *old))

        async def work(
            process: Pipeline, account: Account = account, agents: tuple[Agent, ...] = renamed
        ) -> None:
            await deploy(with_stack(process, account, CONFIG, *agents), "good-2")

        if not await kill(pipeline, work, at=at):
            return
        process = with_stack(pipeline.another(), account, CONFIG, *renamed)
        whole = {agent.name: "good-2" for agent in renamed}
        if after == "deploy":
            await deploy(process, "good-2")
        elif (await history(process.context)).unfinished or at:
            try:
                await process.rollback()
                whole = {agent.name: "good" for agent in old}
            except NothingToRollBackError:  # killed before anything was recorded
                whole = {agent.name: "good" for agent in old}
                await deploy(with_stack(pipeline.another(), account, CONFIG, *old))
        else:
            continue
        await anyio.sleep(40)  # old tasks stop
        assert running(process) == whole, at
        assert set(account.agents) == set(whole), at
    pytest.fail("the deploy does not end")
