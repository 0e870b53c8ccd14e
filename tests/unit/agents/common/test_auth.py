import hashlib
import json
import uuid
from collections.abc import Callable

import httpx
import pytest

from agents.common.aws import Aws
from agents.common.callers.auth import Caller, Stage, Tokens, from_secrets_manager, parse
from agents.common.callers.rates import Rates
from agents.common.errors import ProblemError
from agents.common.settings import Settings
from tests.unit.agents.house import AGENT, ManualClock

Open = Callable[[Settings], httpx.AsyncClient]

ALICE = Caller(name="alice", role="person")
AGENTS = Caller(name="agent", role="agent")


class Secrets:
    """Two secrets whose versions move as those of Secrets Manager do."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, Stage], str] = {
            ("people", "AWSCURRENT"): json.dumps({"alice": "a1", "bob": ""}),
            ("agents", "AWSCURRENT"): "g1",
        }
        self.reads = 0
        self.broken = False

    async def fetch(self, secret: str, stage: Stage) -> str | None:
        self.reads += 1
        if self.broken:
            raise OSError("no route")
        return self.values.get((secret, stage))

    def rotate(self, secret: str, text: str) -> None:
        self.values[secret, "AWSPREVIOUS"] = self.values[secret, "AWSCURRENT"]
        self.values[secret, "AWSCURRENT"] = text


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(secrets: Secrets, clock: ManualClock) -> Tokens:
    return Tokens(
        secrets={"person": "people", "agent": "agents"},
        fetch=secrets.fetch,
        monotonic=clock.monotonic,
    )


async def test_a_token_names_its_caller_and_role(tokens: Tokens) -> None:
    assert await tokens.caller("a1") == ALICE
    assert await tokens.caller("g1") == AGENTS
    assert await tokens.caller("a2") is None
    assert await tokens.caller("") is None  # also where a secret has an empty token
    assert await tokens.own() == "g1"


async def test_secrets_are_read_once_in_30_seconds(
    tokens: Tokens, secrets: Secrets, clock: ManualClock
) -> None:
    for _ in range(3):
        await tokens.caller("a1")
        clock.advance(9.9)
    assert secrets.reads == 4  # two secrets, two stages
    clock.advance(0.5)
    await tokens.caller("a1")
    assert secrets.reads == 8


async def test_a_rotation_interrupts_nobody(
    tokens: Tokens, secrets: Secrets, clock: ManualClock
) -> None:
    await tokens.caller("a1")
    secrets.rotate("people", json.dumps({"alice": "a2"}))
    clock.advance(2)
    # The new token is accepted at once, the old one until the next rotation.
    assert await tokens.caller("a2") == ALICE
    assert await tokens.caller("a1") == ALICE
    secrets.rotate("people", json.dumps({"alice": "a3"}))
    clock.advance(31)
    assert await tokens.caller("a1") is None


async def test_a_revoked_token_is_refused_within_a_minute(
    tokens: Tokens, secrets: Secrets, clock: ManualClock
) -> None:
    secrets.rotate("agents", "g2")
    assert await tokens.caller("g1") == AGENTS
    del secrets.values["agents", "AWSPREVIOUS"]
    clock.advance(30)
    assert await tokens.caller("g1") is None


async def test_secrets_that_cannot_be_read_are_used_for_less_than_a_minute(
    tokens: Tokens, secrets: Secrets, clock: ManualClock
) -> None:
    await tokens.caller("a1")
    secrets.broken = True
    clock.advance(54)
    assert await tokens.caller("a1") == ALICE
    clock.advance(1)
    with pytest.raises(ProblemError, match="cannot be read") as unknown:
        await tokens.caller("a1")
    assert unknown.value.status == 503
    secrets.broken = False
    assert await tokens.caller("a1") == ALICE


async def test_unknown_tokens_do_not_cause_a_reading_each(tokens: Tokens, secrets: Secrets) -> None:
    for number in range(100):
        assert await tokens.caller(f"guess-{number}") is None
    assert secrets.reads == 4


async def test_agents_can_check_a_hashed_token_but_not_use_it(
    tokens: Tokens, secrets: Secrets
) -> None:
    hashed = "sha256:" + hashlib.sha256(b"a9").hexdigest()
    secrets.values["people", "AWSCURRENT"] = json.dumps({"alice": hashed})
    secrets.values["agents", "AWSCURRENT"] = hashed.replace("sha256:", "sha256:zz")
    assert await tokens.caller("a9") == ALICE
    assert await tokens.caller(hashed) is None
    with pytest.raises(ProblemError, match="no token"):
        await tokens.own()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("t", [("person", "t")]),
        (" t\n", [("person", "t")]),
        ("", []),
        ('{"a": "t", "b": ""}', [("a", "t")]),
        ('"t"', [("person", '"t"')]),
        ("123", [("person", "123")]),
    ],
)
def test_a_secret_is_one_token_or_names_with_tokens(
    text: str, tokens: list[tuple[str, str]]
) -> None:
    assert parse("person", text) == tokens


async def test_current_and_previous_versions_come_from_secrets_manager(aws: Aws) -> None:
    client, fetch = aws.client("secretsmanager"), from_secrets_manager(aws)
    name = f"tokens-{uuid.uuid4().hex[:8]}"
    arn = client.create_secret(Name=name, SecretString="one")["ARN"]
    assert [await fetch(arn, "AWSCURRENT"), await fetch(arn, "AWSPREVIOUS")] == ["one", None]
    client.put_secret_value(SecretId=arn, SecretString="two")
    assert [await fetch(arn, "AWSCURRENT"), await fetch(arn, "AWSPREVIOUS")] == ["two", "one"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await fetch(f"{arn}-other", "AWSCURRENT")


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearer x", "Basic person-token", "ü"])
async def test_without_a_valid_token_every_path_but_health_and_readiness_is_401(
    value: str, client: Open
) -> None:
    headers = httpx.Headers({b"Authorization": value.encode("latin-1")})
    async with client(Settings(agent="supervisor")) as http:
        for path in ("/goals", "/supervisor/goals", "/missing", "/openapi.json"):
            answer = await http.post(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["status"] == 401
        for path in ("/health", "/ready", "/metrics", "/supervisor/health"):
            assert (await http.get(path, headers=headers)).status_code == 200


async def test_a_caller_that_sends_too_much_is_told_when_to_come_back(
    client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.common.gate.Rates", lambda: Rates(rate=0.001, burst=3))
    async with client(Settings(agent="supervisor")) as http:
        mine = [await http.post("/goals", json={"goal": "x"}) for _ in range(4)]
        other = await http.post("/goals", json={"goal": "x"}, headers=AGENT)
    assert [answer.status_code for answer in mine] == [200, 200, 200, 429]
    assert int(mine[3].headers["retry-after"]) >= 1
    assert other.status_code == 200
