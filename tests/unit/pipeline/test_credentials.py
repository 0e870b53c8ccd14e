"""What is given as a secret: read once, and in no message."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.aws.session import Credentials
from ci.config import Config, load
from ci.errors import AwsError, UsageError, WrongAccountError
from ci.infra.trust import DEPLOY, PROMOTE
from ci.pipeline import credentials, oidc
from tests.unit.pipeline.test_oidc import token

PLAIN = load(Path(__file__).parents[2] / "acso.toml")
CONFIG = replace(PLAIN, project=replace(PLAIN.project, repository="o/acso"))
KEYS = Credentials(access_key_id="ASIA", secret_access_key="s", session_token="t")
ENDPOINT = "http://127.0.0.1:1"


class Secret:
    def __init__(self, text: str) -> None:
        self.text = text

    async def plaintext(self) -> str:
        return self.text


async def webhook(text: str) -> str:
    secret: Any = Secret(text)
    return await credentials.webhook(secret)


async def test_a_webhook_is_a_url_or_none() -> None:
    assert await credentials.webhook(None) == ""
    assert await webhook("https://hooks.example.org/services/T0/B0/x\n") == (
        "https://hooks.example.org/services/T0/B0/x"
    )


@pytest.mark.parametrize("text", ["", "hooks.example.org/services", "ftp://x", "needle"])
async def test_what_is_no_url_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"the webhook is not an http\(s\) URL") as raised:
        await webhook(text)
    assert "needle" not in f"{raised.value} {raised.value.hint}"


class Sts:
    """Stands in for STS: keeps what roles were asked for, and refuses if told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, issued: str, code: str = "") -> None:
        self.roles: list[str] = []

        async def fetch(_url: str, _token: str) -> str:
            return issued

        async def assume(role: str, given: str, **_: Any) -> Credentials:
            assert given == issued
            self.roles.append(role)
            if code:
                message = f"sts assume_role_with_web_identity: {code}: Not authorized"
                raise AwsError(message, service="sts", code=code, hint="the role lacks sts:Assume")
            return KEYS

        monkeypatch.setattr(oidc, "fetch", fetch)
        monkeypatch.setattr(credentials, "assume_with_token", assume)


async def assumed(config: Config, name: str, kind: str, endpoint: str | None = ENDPOINT) -> object:
    url: Any = Secret("https://issuer.example.org")
    may_ask: Any = Secret("may-ask")
    job = credentials.Job(url=url, token=may_ask)
    return await job.credentials(config, config.environment(name), kind, endpoint)


async def test_each_kind_of_work_has_a_role_of_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sts = Sts(monkeypatch, token({"sub": "x"}))
    assert await assumed(CONFIG, "production", DEPLOY) is KEYS
    assert await assumed(CONFIG, "staging", PROMOTE) is KEYS
    assert sts.roles == [
        "arn:aws:iam::000000000000:role/acso-production-deploy",
        "arn:aws:iam::000000000000:role/acso-staging-promote",
    ]


async def test_an_environment_without_an_account_has_no_role_to_assume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sts = Sts(monkeypatch, token({"sub": "x"}))
    with pytest.raises(WrongAccountError, match="staging has no account"):
        await assumed(CONFIG, "staging", DEPLOY, endpoint=None)
    assert sts.roles == []


async def test_a_refusal_names_the_token_s_subject_the_trusted_ones_and_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = "repo:o@12/acso@34:environment:production"
    issued = token({"sub": found})
    Sts(monkeypatch, issued, code="AccessDenied")
    with pytest.raises(AwsError) as raised:
        await assumed(CONFIG, "production", DEPLOY)
    assert str(raised.value).splitlines() == [
        "sts assume_role_with_web_identity: AccessDenied: Not authorized",
        "  role: arn:aws:iam::000000000000:role/acso-production-deploy",
        f"  subject of this job's token: {found}",
        "  subjects that the role trusts, by acso.toml: repo:o/acso:environment:production",
    ]
    assert 'set owner_id = "12" and repository_id = "34" in [project]' in raised.value.hint
    assert raised.value.code == "AccessDenied"
    for part in issued.split("."):
        assert part not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("issued", ["", "opaque", "a.b.c", token({"sub": 1}), token(b"\xff")])
async def test_a_refused_token_that_cannot_be_read_is_not_shown_either(
    issued: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sts(monkeypatch, issued, code="AccessDenied")
    with pytest.raises(AwsError, match="subject of this job's token: cannot be read") as raised:
        await assumed(CONFIG, "staging", DEPLOY)
    assert not issued or issued not in f"{raised.value} {raised.value.hint}"


async def test_another_error_of_sts_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    Sts(monkeypatch, token({"sub": "x"}), code="Unreachable")
    with pytest.raises(AwsError) as raised:
        await assumed(CONFIG, "staging", DEPLOY)
    assert str(raised.value).count("\n") == 0
