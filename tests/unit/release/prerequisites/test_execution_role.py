"""What the execution role must be allowed: simulated, tried where it may be, secrets unseen."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from ci.release import Verification, verify
from ci.release.plan import desired
from tests.unit.release.conftest import COUNT
from tests.unit.release.fakes.account import ReadyAccount, account_context, denied, pushed_images
from tests.unit.release.fakes.world import Handle


async def found(account: ReadyAccount) -> Verification:
    return await verify(account_context(account), pushed_images())


def assumable(account: ReadyAccount, monkeypatch: pytest.MonkeyPatch, *forbidden: str) -> None:
    """Let who asks assume the execution role, which may not do some things when tried."""

    class Assumed(Handle):
        async def call(self, service: str, operation: str, /, **arguments: Any) -> Any:
            if operation in forbidden:
                raise denied(f"{service}:{operation}")
            return await super().call(service, operation, **arguments)

    async def assume(*_: Any, **__: Any) -> Handle:
        return Assumed(account)

    # By import: under its name the package has the function.
    monkeypatch.setattr(import_module("ci.release.verify"), "assume", assume)


async def test_pulling_is_tried_if_the_role_may_be_assumed(
    account: ReadyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumable(account, monkeypatch, "get_download_url_for_layer")
    problems = (await found(account)).problems
    assert {item.action for item in problems} == {"ecr:get_download_url_for_layer"}
    assert len(problems) == COUNT


async def test_a_caller_who_may_assume_the_role_need_not_simulate(
    account: ReadyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumable(account, monkeypatch)
    account.errors["simulate_principal_policy"] = denied("iam:SimulatePrincipalPolicy")
    verified = await found(account)
    # Writing a line to the logs would change something: that alone is left unseen.
    assert [item.what for item in verified.problems] == ["execution role: write logs"]
    pulled = next(item for item in verified.findings if "pull" in item.what)
    assert pulled.message == "allowed (tried)"


SECRET = "arn:aws:secretsmanager:us-east-1:0:secret:db-a1b2c3"


@pytest.fixture
def with_secret(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives every agent's container a secret from where the argument says."""

    def give(value_from: str) -> None:
        made = desired.task_definition

        def definition(*arguments: Any) -> dict[str, Any]:
            request = made(*arguments)
            secret = {"name": "DB", "valueFrom": value_from}
            request["containerDefinitions"][0]["secrets"] = [secret]
            return request

        monkeypatch.setattr(desired, "task_definition", definition)

    return give


@pytest.mark.parametrize(
    ("value_from", "action", "resource"),
    [
        (SECRET, "secretsmanager:GetSecretValue", SECRET),
        (f"{SECRET}:password::", "secretsmanager:GetSecretValue", SECRET),
        ("/acso/db", "ssm:GetParameters", "arn:aws:ssm:us-east-1:0:parameter/acso/db"),
        ("db", "ssm:GetParameters", "arn:aws:ssm:us-east-1:0:parameter/db"),
    ],
)
async def test_a_secret_that_the_role_may_not_read_is_reported(
    account: ReadyAccount,
    with_secret: Callable[[str], None],
    value_from: str,
    action: str,
    resource: str,
) -> None:
    with_secret(value_from)
    assert (await found(account)).ok
    account.forbidden.add(action)
    (problem,) = (await found(account)).problems
    assert (problem.action, problem.resource) == (action, resource)


@pytest.mark.parametrize(
    ("value_from", "kept", "told"),
    [
        (SECRET, {}, "the secret does not exist"),
        (SECRET, {SECRET: "x"}, ""),
        (f"{SECRET}:password::", {SECRET: '{"user": "x"}'}, "it has no key password"),
        (f"{SECRET}:password::", {SECRET: "canary"}, "it is not a JSON object"),
        (f"{SECRET}:password::", {SECRET: '{"password": "canary"}'}, ""),
        ("/acso/db", {}, "the parameter does not exist"),
    ],
)
async def test_a_secret_is_read_as_the_role_and_never_shown(
    account: ReadyAccount,
    monkeypatch: pytest.MonkeyPatch,
    with_secret: Callable[[str], None],
    value_from: str,
    kept: dict[str, str],
    told: str,
) -> None:
    with_secret(value_from)
    account.secrets = kept
    assumable(account, monkeypatch)
    verified = await found(account)
    assert [told in item.message for item in verified.problems] == [True] * bool(told)
    assert "canary" not in verified.text()
