"""The way to AWS: clients, worker threads, errors as sentences, the account checked first."""

import dataclasses
import http.server
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
from botocore import exceptions
from botocore.stub import Stubber

from ci.aws.failures import failure
from ci.aws.session import (
    CALLS,
    THROTTLE_PATIENCE,
    THROTTLE_PAUSES,
    Aws,
    Credentials,
    assume_with_token,
    check_account,
    while_throttled,
)
from ci.config import Environment, load
from ci.errors import AwsError, WrongAccountError

ROOT = Path(__file__).parents[3]
SECRET, TOKEN = "the-secret-key", "the-session-token"
KEYS = Credentials(access_key_id="AKIATEST", secret_access_key=SECRET, session_token=TOKEN)


@pytest.fixture
def aws() -> Aws:
    return Aws(region="eu-central-1", credentials=KEYS)


def test_importing_it_does_not_import_boto3() -> None:
    code = "import sys, ci.aws.session; sys.exit('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_secrets_are_not_in_representations(aws: Aws) -> None:
    for shown in (repr(KEYS), str(KEYS), repr(aws)):
        assert SECRET not in shown
        assert TOKEN not in shown
    assert "AKIATEST" in repr(KEYS)


def test_a_client_is_created_once_for_all_threads(
    monkeypatch: pytest.MonkeyPatch, aws: Aws
) -> None:
    made: list[str] = []

    def make(_: Aws, service: str) -> object:
        made.append(service)
        time.sleep(0.02)  # long enough for every other thread to ask meanwhile
        return object()

    monkeypatch.setattr(Aws, "_create_client", make)
    with ThreadPoolExecutor(max_workers=8) as pool:
        clients = list(pool.map(aws.client, ["ecs"] * 8))
    assert made == ["ecs"]
    assert len(set(map(id, clients))) == 1


def test_clients_retry_time_out_and_say_who_they_are(aws: Aws) -> None:
    config = aws.client("sts").meta.config
    assert config.retries["mode"] == "adaptive"
    assert config.connect_timeout <= 10
    assert config.read_timeout <= 60
    assert config.user_agent_extra == "acso"
    assert aws.client("sts").meta.region_name == "eu-central-1"


def test_quick_calls_have_one_short_attempt(aws: Aws) -> None:
    config = aws.quick().client("dynamodb").meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.read_timeout <= 5
    assert aws.client("dynamodb").meta.config.retries["total_max_attempts"] > 1


def test_all_services_use_one_session_s_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A profile with MFA asks for a code for each session, and a code is accepted once.
    config = tmp_path / "config"
    config.write_text("[profile mfa]\naws_access_key_id = AKIATEST\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "mfa")
    clients = [Aws(region=r).client(s) for r, s in (("r-1", "ecs"), ("r-1", "sts"), ("r-2", "ecr"))]
    assert len({id(client._request_signer._credentials) for client in clients}) == 1
    assert [client.meta.region_name for client in clients] == ["r-1", "r-1", "r-2"]


async def test_calls_wait_in_threads_only_so_many_at_a_time(aws: Aws) -> None:
    lock, now, most = threading.Lock(), 0, 0

    class Slow:
        def look(self) -> dict[str, Any]:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 1
            return {}

    aws._clients["slow"] = Slow()
    async with anyio.create_task_group() as group:
        for _ in range(3 * CALLS):
            group.start_soon(aws.call, "slow", "look")
        await anyio.sleep(0.001)  # the loop goes on while threads wait
        assert most < 3 * CALLS
    assert 1 < most <= CALLS


async def test_pages_are_joined(aws: Aws) -> None:
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("list_services", {"serviceArns": ["a"], "nextToken": "2"})
        stub.add_response("list_services", {"serviceArns": ["b"]}, {"nextToken": "2"})
        assert await aws.pages("ecs", "list_services", "serviceArns") == ["a", "b"]


@pytest.mark.parametrize(
    ("service", "operation", "sentence", "action"),
    [
        (
            "ecs",
            "list_services",
            "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: ecs:ListServices on",
            "ecs:ListServices",
        ),
        ("elbv2", "describe_target_health", "", "elasticloadbalancing:DescribeTargetHealth"),
        ("ecr", "describe_images", "denied", "ecr:DescribeImages"),
    ],
)
async def test_a_denied_call_names_the_missing_action(
    aws: Aws, service: str, operation: str, sentence: str, action: str
) -> None:
    with Stubber(aws.client(service)) as stub:
        stub.add_client_error(operation, "AccessDeniedException", sentence)
        with pytest.raises(AwsError) as raised:
            await aws.call(service, operation, **_least(aws.client(service), operation))
    error = raised.value
    assert error.hint == f"missing permission: {action}"
    assert (error.service, error.operation) == (service, operation)
    assert error.code == "AccessDeniedException"
    assert sentence in str(error)
    assert f"{service} {operation}" in str(error)


def _least(client: Any, operation: str) -> dict[str, Any]:
    """Return the arguments that an operation cannot do without."""
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
    return dict.fromkeys(model.input_shape.required_members, "name")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("ExpiredTokenException", "expired"),
        ("UnrecognizedClientException", "does not know these credentials"),
        ("InvalidClientTokenId", "does not know these credentials"),
        ("InternalFailure", ""),
    ],
)
async def test_a_refusal_has_a_hint(aws: Aws, code: str, hint: str) -> None:
    with Stubber(aws.client("sts")) as stub:
        stub.add_client_error("get_caller_identity", code, "no")
        with pytest.raises(AwsError) as raised:
            await aws.account()
    assert (hint in raised.value.hint) if hint else (raised.value.hint == "")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (exceptions.NoCredentialsError(), "NoCredentials", "there are no AWS credentials"),
        (exceptions.ProfileNotFound(profile="work"), "ProfileNotFound", "work"),
        (exceptions.UnauthorizedSSOTokenError(), "UnauthorizedSSOTokenError", "login"),
        (exceptions.ReadTimeoutError(endpoint_url="u"), "Unreachable", "AWS in eu-central-1"),
        (exceptions.SSLError(endpoint_url="u", error="e"), "Unreachable", "certificate"),
        (exceptions.MissingParametersError(object_name="o", missing="m"), "MissingParam", "m"),
    ],
)
def test_what_never_reached_aws_is_a_sentence_too(
    aws: Aws, error: Exception, code: str, text: str
) -> None:
    told = failure(aws, "ecs", "list_tasks", error, ())
    assert told is not None
    assert told.code.startswith(code)
    assert text in str(told)


def test_an_error_of_the_program_itself_stays_what_it_is(aws: Aws) -> None:
    assert failure(aws, "ecs", "list_tasks", TypeError("x"), ()) is None


async def test_an_unreachable_endpoint_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    here = Aws(region="us-east-1", endpoint=url, credentials=KEYS)
    # Without its retries, which are botocore's own and take seconds.
    here.client("sts").meta.events.register("needs-retry.sts", lambda **_: None)
    here.client("sts").meta.events.unregister("needs-retry.sts", unique_id="retry-config-sts")
    with pytest.raises(AwsError, match=f"{url} cannot be reached") as raised:
        await here.account()
    assert raised.value.code == "Unreachable"


async def test_a_wrong_signature_does_not_show_the_request(aws: Aws) -> None:
    sentence = (
        "The request signature we calculated does not match.\n\nThe Canonical String for this "
        f"request should have been\n'POST\n/\n\nx-amz-security-token:{TOKEN}'"
    )
    with Stubber(aws.client("sts")) as stub:
        stub.add_client_error("get_caller_identity", "SignatureDoesNotMatch", sentence)
        with pytest.raises(AwsError, match="does not match") as raised:
            await aws.account()
    assert TOKEN not in str(raised.value)
    assert "Canonical" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__  # nor does a traceback show it


class Sts(http.server.BaseHTTPRequestHandler):
    """AWS STS as far as web identities go; refuses a token by quoting it, as STS does."""

    seen: list[tuple[dict[str, list[str]], str | None]]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        self.seen.append((form, self.headers["Authorization"]))
        token = form["WebIdentityToken"][0]
        good = token == "good-token"
        body = (
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            "<AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            "<SessionToken>t</SessionToken><Expiration>2026-11-24T12:00:00Z</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            if good
            else "<ErrorResponse><Error><Code>ValidationError</Code><Message>Value "
            f"'{token}' at 'webIdentityToken' failed</Message></Error></ErrorResponse>"
        ).encode()
        self.send_response(200 if good else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def sts() -> Iterator[str]:
    Sts.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sts) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_an_identity_token_becomes_credentials_without_a_signature(sts: str) -> None:
    role = "arn:aws:iam::123456789012:role/acso-staging-deploy"
    keys = await assume_with_token(role, "good-token", region="us-east-1", endpoint=sts)
    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ("ASIA1", "s", "t")
    ((form, signature),) = Sts.seen
    assert form["RoleArn"] == [role]
    assert signature is None


async def test_a_refused_identity_token_is_not_shown(sts: str) -> None:
    with pytest.raises(AwsError, match="webIdentityToken") as raised:
        await assume_with_token("arn:aws:iam::1:role/x", "bad-token", region="r", endpoint=sts)
    assert "bad-token" not in str(raised.value)


def environment(account: str | None) -> Environment:
    known = load(ROOT / "tests" / "acso.toml").environment("staging")
    return dataclasses.replace(known, account=account, region="eu-central-1")


class Known:
    """Credentials of one account."""

    def __init__(self, account: str) -> None:
        self.account = account

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": self.account}


MINE, OTHER, EMBEDDED = "123456789012", "999999999999", "000000000000"
HERE = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("named", "endpoint", "found", "problem"),
    [
        (MINE, None, MINE, None),
        (MINE, None, OTHER, f"account {OTHER}, but staging is {MINE}"),
        (None, None, MINE, "environment staging has no account"),
        (None, HERE, EMBEDDED, None),
        (MINE, HERE, EMBEDDED, None),  # an emulator is nobody's account
        (None, HERE, OTHER, f"account {OTHER}, but staging has no account"),
        (MINE, HERE, OTHER, f"account {OTHER}, but staging is {MINE}"),
    ],
)
async def test_only_the_account_named_for_the_environment_is_touched(
    named: str | None, endpoint: str | None, found: str, problem: str | None
) -> None:
    aws = Aws(region="eu-central-1", endpoint=endpoint, credentials=KEYS)
    aws._clients["sts"] = Known(found)
    if problem is None:
        located = await check_account(aws, environment(named))
        assert located == environment(found)  # its secrets are read there
        return
    with pytest.raises(WrongAccountError, match=problem):
        await check_account(aws, environment(named))


async def test_another_region_than_the_environment_s_is_refused_before_any_call() -> None:
    aws = Aws(region="us-east-1", endpoint=HERE, credentials=KEYS)  # nobody listens there
    with pytest.raises(WrongAccountError, match="us-east-1 is not eu-central-1"):
        await check_account(aws, environment(MINE))


async def test_a_cancelled_call_makes_no_further_attempt() -> None:
    with socket.socket() as unused:  # bound, but it does not listen: refused at once
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        aws = Aws(region="eu-central-1", endpoint=f"http://127.0.0.1:{port}", credentials=KEYS)
        attempts: list[str] = []
        with anyio.CancelScope() as scope:

            def attempt(**_: Any) -> None:
                attempts.append("attempt")
                anyio.from_thread.run_sync(scope.cancel)

            aws.client("dynamodb").meta.events.register_last("before-send", attempt)
            await aws.call("dynamodb", "list_tables")
    assert scope.cancelled_caught
    assert attempts == ["attempt"]


@pytest.mark.parametrize("seconds", [30, 110])
async def test_a_throttled_call_is_repeated_after_botocore_s_own_attempts(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    now = virtual_time(monkeypatch)

    async def call() -> str:
        if now() < seconds:
            raise AwsError("ecs register_task_definition: no", code="ThrottlingException")
        return "registered"

    assert await while_throttled(call) == "registered"


@pytest.mark.parametrize(
    ("code", "ends"), [("ThrottlingException", THROTTLE_PATIENCE), ("ClientException", 0.0)]
)
async def test_endless_throttling_and_other_errors_end_a_call(
    monkeypatch: pytest.MonkeyPatch, code: str, ends: float
) -> None:
    now = virtual_time(monkeypatch)

    async def call() -> str:
        raise AwsError("ecs register_task_definition: no", code=code)

    with pytest.raises(AwsError, match="no"):
        await while_throttled(call)
    assert ends - THROTTLE_PAUSES[1] <= now() <= ends


def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Let sleeps take no time; return the clock that they move."""
    passed = [0.0]

    async def sleep(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(anyio, "current_time", lambda: passed[0])
    monkeypatch.setattr(anyio, "sleep", sleep)
    return lambda: passed[0]
