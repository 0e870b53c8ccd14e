"""Each thing that a release stands on, broken: found with its resource and its fix."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ci.aws import elb
from ci.aws.elb import Answer
from ci.config import LoadBalancer
from ci.errors import VerifyError
from ci.release import Verification, verify
from ci.release.prerequisites.findings import Status
from tests.unit.release.conftest import COUNT, ENV
from tests.unit.release.fakes.account import OUTPUTS, ReadyAccount, account_context, pushed_images

HUNTER = "threat-hunter"
GROUP = OUTPUTS.target_groups[HUNTER]
Break = Callable[[ReadyAccount], object]


async def found(account: ReadyAccount) -> Verification:
    return await verify(account_context(account), pushed_images())


def hunter(**changes: Any) -> Break:
    return lambda world: world.targets[GROUP].update(changes)


def trust(**changes: Any) -> Break:
    return lambda world: world.roles["execution"]["Statement"][0].update(changes)


def manifest(**changes: Any) -> Break:
    return lambda world: world.manifests.update({f"acso-{HUNTER}": changes})


def index(*architectures: str) -> Break:
    platforms = [{"os": "linux", "architecture": name} for name in architectures]
    attestation = {"platform": {"os": "unknown", "architecture": "unknown"}}
    return manifest(manifests=[*({"platform": item} for item in platforms), attestation])


IMAGE = f"registry/acso-{HUNTER}@sha256:good"
DRIFT = "aws cloudformation detect-stack-drift --stack-name acso-staging"
ECR = f"arn:aws:ecr:us-east-1:0:repository/acso-{HUNTER}"
STREAM = f"arn:aws:logs:us-east-1:0:log-group:{ENV.log_group}:log-stream:any"
#: How it is broken; what is found: at what, told how, of which resource, and the fix.
PROBLEMS: dict[str, tuple[Break, str, str, str, str]] = {
    "another account": (
        lambda w: setattr(w, "account", "999999999999"),
        "account and region",
        "credentials are of account 999999999999",
        "123456789012",
        "use that account's credentials",
    ),
    "no cluster": (
        lambda w: setattr(w, "cluster", ""),
        "cluster",
        "does not exist",
        ENV.cluster,
        DRIFT,
    ),
    "a deleted cluster": (
        lambda w: setattr(w, "cluster", "INACTIVE"),
        "cluster",
        "INACTIVE",
        ENV.cluster,
        DRIFT,
    ),
    "no log group": (
        lambda w: setattr(w, "log_groups", [ENV.log_group + "-old"]),
        "log group",
        "does not exist",
        ENV.log_group,
        f"aws logs create-log-group --log-group-name {ENV.log_group}",
    ),
    "a subnet is gone": (
        lambda w: w.subnets.pop("subnet-2"),
        "subnets",
        "subnet-2 does not exist",
        "subnet-1, subnet-2",
        DRIFT,
    ),
    "a subnet that cannot be used": (
        lambda w: w.subnets["subnet-1"].update(State="failed"),
        "subnets",
        "subnet-1 is failed",
        "subnet-1, subnet-2",
        DRIFT,
    ),
    "no security group": (
        lambda w: w.groups.clear(),
        "security group",
        "does not exist",
        "sg-1",
        DRIFT,
    ),
    "the port is closed": (
        lambda w: w.groups[0].update(IpPermissions=[]),
        "security group",
        "does not allow port 8000",
        "sg-1",
        DRIFT,
    ),
    "a security group of another network": (
        lambda w: w.groups[0].update(VpcId="vpc-2"),
        "security group",
        "is in vpc-2",
        "sg-1",
        DRIFT,
    ),
    "no execution role": (
        lambda w: w.roles.pop("execution"),
        "execution role",
        "does not exist",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role for another service": (
        trust(Principal={"Service": "ec2.amazonaws.com"}),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role for another account's tasks": (
        trust(Condition={"StringEquals": {"aws:SourceAccount": "1"}}),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role that allows and denies": (
        lambda w: w.roles["execution"]["Statement"].append(
            {"Effect": "Deny", "Principal": "*", "Action": "sts:*"}
        ),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role that denies": (
        trust(Effect="Deny"),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "no task role": (
        lambda w: w.roles.pop(HUNTER),
        f"role of {HUNTER}",
        "does not exist",
        OUTPUTS.task_roles[HUNTER],
        DRIFT,
    ),
    "no target group": (
        lambda w: w.targets.pop(GROUP),
        f"target group of {HUNTER}",
        "does not exist",
        GROUP,
        DRIFT,
    ),
    "another health path": (
        hunter(HealthCheckPath="/alive"),
        f"target group of {HUNTER}",
        "health path is /alive, not /health",
        GROUP,
        f"modify-target-group --target-group-arn {GROUP} --health-check-path /health",
    ),
    "another health port": (
        hunter(HealthCheckPort="9000"),
        f"target group of {HUNTER}",
        "health port is 9000, not traffic-port",
        GROUP,
        "--health-check-port traffic-port",
    ),
    "another protocol": (
        hunter(Protocol="HTTPS"),
        f"target group of {HUNTER}",
        "protocol is HTTPS, not HTTP",
        GROUP,
        DRIFT,
    ),
    "another target type": (
        hunter(TargetType="instance"),
        f"target group of {HUNTER}",
        "target type is instance, not ip",
        GROUP,
        DRIFT,
    ),
    "no image": (
        lambda w: w.manifests.pop(f"acso-{HUNTER}"),
        f"image of {HUNTER}",
        "is not in the registry",
        IMAGE,
        "./acso publish --env staging",
    ),
    "an image of another architecture": (
        index("arm64"),
        f"image of {HUNTER}",
        "is for linux/arm64, the task needs linux/amd64",
        IMAGE,
        "for linux/amd64",
    ),
    "no registry login": (
        lambda w: w.forbidden.add("ecr:GetAuthorizationToken"),
        "execution role: log in to the registry",
        "ecr:GetAuthorizationToken is not allowed",
        "*",
        "allow ecr:GetAuthorizationToken on * in the policy of execution",
    ),
    "no logs": (
        lambda w: w.forbidden.add("logs:PutLogEvents"),
        "execution role: write logs",
        "logs:PutLogEvents is not allowed",
        STREAM,
        f"allow logs:PutLogEvents on {STREAM}",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS.values(), ids=PROBLEMS)
async def test_each_problem_is_found_with_its_resource_and_its_fix(
    account: ReadyAccount, case: tuple[Break, str, str, str, str]
) -> None:
    broken, what, told, resource, fix = case
    broken(account)
    verified = await found(account)
    (problem,) = verified.problems
    assert (problem.status, problem.what, problem.resource) == (Status.FAIL, what, resource)
    assert told in problem.message
    assert fix in problem.fix
    with pytest.raises(VerifyError) as raised:
        verified.raise_for_failure()
    assert fix in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "endpoint", "status", "told"),
    [
        ({"tls": None}, None, Status.FAIL, "no listener with TLS"),
        ({"tls": "none"}, None, Status.PASS, "plain HTTP, as acso.toml allows"),
        ({"domain": "a.example.com", "hosted_zone": "Z1", "tls": None}, None, Status.PASS, "HTTPS"),
        ({"name": "development", "tls": None}, None, Status.PASS, "plain HTTP"),
        ({"tls": None}, "http://here", Status.SKIP, "not AWS's own"),
    ],
)
async def test_plain_http_outside_development_is_a_problem_unless_allowed(
    account: ReadyAccount,
    changes: dict[str, Any],
    endpoint: str | None,
    status: Status,
    told: str,
) -> None:
    here = account_context(account)
    here.aws.endpoint = endpoint  # type: ignore[misc]
    here = dataclasses.replace(here, env=dataclasses.replace(here.env, **changes))
    found_ = {item.what: item for item in (await verify(here, pushed_images())).findings}
    assert found_["TLS"].status is status
    assert told in found_["TLS"].message


async def test_an_internal_load_balancer_that_does_not_answer_is_a_problem(
    account: ReadyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = account_context(account)
    internal = LoadBalancer(internal=True)
    here = dataclasses.replace(here, env=dataclasses.replace(here.env, load_balancer=internal))
    assert (await verify(here, pushed_images())).ok

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return Answer(status=0, error="no answer: timed out")

    monkeypatch.setattr(elb, "get", get)
    found_ = {item.what: item for item in (await verify(here, pushed_images())).problems}
    problem = found_["internal load balancer"]
    assert problem.message == "does not answer: no answer: timed out"
    assert "detect-stack-drift" in problem.fix


async def test_all_problems_are_reported_together(account: ReadyAccount) -> None:
    for name in ("no log group", "no task role", "another health path", "no image"):
        PROBLEMS[name][0](account)
    account.forbidden.add("ecr:BatchGetImage")
    verified = await found(account)
    whats = [item.what for item in verified.problems]
    assert whats[:4] == [
        "log group",
        f"image of {HUNTER}",
        f"role of {HUNTER}",
        f"target group of {HUNTER}",
    ]
    pulls = [item for item in verified.problems if item.action == "ecr:BatchGetImage"]
    assert len(pulls) == COUNT
    assert ECR in {item.resource for item in pulls}
    assert verified.summary() == f"{9 + 4 * COUNT - 9} of {9 + 4 * COUNT} passed, 9 failed"
    with pytest.raises(VerifyError) as raised:
        verified.raise_for_failure()
    assert all(item.fix in str(raised.value) for item in verified.problems)


@pytest.mark.parametrize(
    "fine",
    [
        pytest.param(index("arm64", "amd64"), id="an index with the platform"),
        pytest.param(trust(Principal={"Service": ["a", "ecs-tasks.amazonaws.com"]}), id="a list"),
        pytest.param(trust(Action=["sts:TagSession", "sts:AssumeRole"]), id="several actions"),
        pytest.param(trust(Condition={}), id="any account's tasks"),
        pytest.param(hunter(Port=80), id="a port of its own: ECS registers the tasks'"),
        pytest.param(
            lambda w: w.groups[0].update(IpPermissions=[{"IpProtocol": "-1"}]), id="all ports"
        ),
    ],
)
async def test_equivalent_settings_pass(account: ReadyAccount, fine: Break) -> None:
    fine(account)
    assert (await found(account)).problems == ()
