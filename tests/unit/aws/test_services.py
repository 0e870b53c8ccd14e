"""Registry, load balancer, logs, models and records: requests and answers by the API reference."""

import base64
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.stub import Stubber

from ci.aws import ecr, elb, logs
from ci.aws.session import Aws, Credentials
from ci.config import load
from ci.errors import AwsError

STAGING = load(Path(__file__).parents[2] / "acso.toml").environment("staging")
KEYS = Credentials(access_key_id="AKIATEST", secret_access_key="none")
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/t/0"


@pytest.fixture
def aws() -> Aws:
    return Aws(region="us-east-1", credentials=KEYS)


async def test_the_registry_is_the_account_s_unless_set(aws: Aws) -> None:
    with Stubber(aws.client("sts")) as stub:
        stub.add_response("get_caller_identity", {"Account": "123456789012"})
        assert await ecr.host(aws) == "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    given = Aws(region="us-east-1", credentials=KEYS, registry="localhost:5000")
    assert await ecr.host(given) == "localhost:5000"


async def test_a_login_does_not_show_its_password() -> None:
    token = base64.b64encode(b"AWS:pass:word").decode()
    given = Aws(region="us-east-1", credentials=KEYS, registry="localhost:5000")
    with Stubber(given.client("ecr")) as stub:
        answer = {"authorizationData": [{"authorizationToken": token}]}
        stub.add_response("get_authorization_token", answer)
        login = await ecr.login(given)
    assert (login.username, login.password) == ("AWS", "pass:word")
    assert "pass" not in repr(login).replace("password='***'", "")


@pytest.mark.parametrize("code", ["ImageNotFoundException", "RepositoryNotFoundException"])
async def test_an_image_that_is_not_there_has_no_digest(aws: Aws, code: str) -> None:
    with Stubber(aws.client("ecr")) as stub:
        stub.add_client_error("describe_images", code)
        stub.add_response(
            "describe_images",
            {"imageDetails": [{"imageDigest": "sha256:1"}]},
            {"repositoryName": "acso-x", "imageIds": [{"imageTag": "v1"}]},
        )
        stub.add_client_error("describe_images", "AccessDeniedException")
        assert await ecr.digest(aws, "acso-x", "v1") is None
        assert await ecr.digest(aws, "acso-x", "v1") == "sha256:1"
        with pytest.raises(AwsError, match="AccessDenied"):
            await ecr.has(aws, "acso-x", "sha256:1")


async def test_targets_come_with_state_and_reason(aws: Aws) -> None:
    health = {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": "Health checks failed with codes: [500]",
    }
    answer = {"TargetHealthDescriptions": [{"Target": {"Id": "10.0.1.7"}, "TargetHealth": health}]}
    with Stubber(aws.client("elbv2")) as stub:
        stub.add_response("describe_target_health", answer, {"TargetGroupArn": GROUP})
        (target,) = await elb.targets(aws, GROUP)
    assert (target.address, target.state) == ("10.0.1.7", "unhealthy")
    assert target.reason == "Health checks failed with codes: [500]"
    assert str(target) == f"unhealthy (Target.ResponseCodeMismatch: {target.reason})"
    assert str(elb.Target(address="10.0.1.7", state="healthy")) == "healthy"


async def test_a_load_balancer_is_found_by_name_or_by_the_pattern_given(aws: Aws) -> None:
    with Stubber(aws.client("elbv2")) as stub:
        stub.add_response(
            "describe_load_balancers",
            {"LoadBalancers": [{"DNSName": "x.elb"}]},
            {"Names": ["acso-staging-alb"]},
        )
        assert await elb.url(aws, STAGING) == "http://x.elb"
    given = Aws(region="us-east-1", credentials=KEYS, load_balancer="http://here/{name}")
    assert await elb.url(given, STAGING) == "http://here/acso-staging-alb"


@pytest.mark.parametrize(
    ("tls", "url"), [(None, "https://a.example"), ("none", "http://a.example")]
)
async def test_a_load_balancer_with_a_domain_is_found_by_it(
    aws: Aws, tls: str | None, url: str
) -> None:
    named = replace(STAGING, domain="a.example", hosted_zone="Z1", tls=tls)
    assert await elb.url(aws, named) == url


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/good": (200, b'{"status": "healthy"}'),
            "/text": (200, b"hello"),
            "/list": (200, b"[1]"),
        }.get(self.path, (503, b'{"status": "draining"}'))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_whatever_a_url_answers_is_an_answer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # this machine's own is asked directly
    assert await elb.get(f"{url}/good") == elb.Answer(status=200, body={"status": "healthy"})
    assert (await elb.get(f"{url}/other")).status == 503
    assert (await elb.get(f"{url}/text")).body == {"text": "hello"}
    assert (await elb.get(f"{url}/list")).body == {"json": [1]}
    assert str(await elb.get(f"{url}/good")) == 'HTTP 200 {"status": "healthy"}'


async def test_a_failed_request_is_an_answer_with_the_reason() -> None:
    answer = await elb.get("http://127.0.0.1:1/health", seconds=1)
    assert answer.status == 0
    assert str(answer).startswith("no answer: ")
    assert "refused" in str(answer)


async def test_the_last_lines_of_a_stream_are_read(aws: Aws) -> None:
    with Stubber(aws.client("logs")) as stub:
        stub.add_response(
            "get_log_events",
            {"events": [{"message": "one\n"}, {"message": "two"}]},
            {"logGroupName": "g", "logStreamName": "s", "limit": 20, "startFromHead": False},
        )
        stub.add_client_error("get_log_events", "ResourceNotFoundException")
        stub.add_client_error("get_log_events", "AccessDeniedException")
        assert await logs.tail(aws, "g", "s", lines=20) == ["one", "two"]
        assert await logs.tail(aws, "g", "s", lines=20) == []
        with pytest.raises(AwsError):
            await logs.tail(aws, "g", "s", lines=20)


async def test_the_last_lines_are_read_from_several_pages_if_one_is_not_full(aws: Aws) -> None:
    asked = {"logGroupName": "g", "logStreamName": "s", "limit": 2, "startFromHead": False}
    pages = [
        ({"events": [{"message": "last"}], "nextBackwardToken": "b1"}, {}),
        ({"events": [], "nextBackwardToken": "b2"}, {"nextToken": "b1"}),
        ({"events": [{"message": "cause"}], "nextBackwardToken": "b3"}, {"nextToken": "b2"}),
        ({"events": [{"message": "only"}], "nextBackwardToken": "b"}, {}),
        ({"events": [], "nextBackwardToken": "b"}, {"nextToken": "b"}),
    ]
    with Stubber(aws.client("logs")) as stub:
        for answer, position in pages:
            stub.add_response("get_log_events", answer, asked | position)
        assert await logs.tail(aws, "g", "s", lines=2) == ["cause", "last"]
        assert await logs.tail(aws, "g", "s", lines=2) == ["only"]


async def test_lines_of_all_streams_come_by_time_from_every_page(aws: Aws) -> None:
    first = {"logStreamName": "a/c/1", "timestamp": 2000, "message": "two\n", "eventId": "e2"}
    second = {"logStreamName": "b/c/2", "timestamp": 1000, "message": "one", "eventId": "e1"}
    other = {"logStreamName": "ab/c/3", "timestamp": 1500, "message": "another agent"}
    with Stubber(aws.client("logs")) as stub:
        asked = {"logGroupName": "g", "startTime": 500, "endTime": 3000}
        stub.add_response("filter_log_events", {"events": [first], "nextToken": "n"}, asked)
        stub.add_response("filter_log_events", {"events": [second]}, asked | {"nextToken": "n"})
        # An emulator may leave the prefix out of account.
        asked = {"logGroupName": "g", "startTime": 0, "logStreamNamePrefix": "a/"}
        stub.add_response("filter_log_events", {"events": [first, other]}, asked)
        stub.add_client_error("filter_log_events", "ResourceNotFoundException")
        stub.add_client_error("filter_log_events", "AccessDeniedException")
        found = await logs.events_between(aws, "g", start=500, end=3000)
        assert [(event.message, event.id) for event in found] == [("one", "e1"), ("two", "e2")]
        (only,) = await logs.events_between(aws, "g", start=-1, prefix="a/")
        assert only.stream == "a/c/1"
        assert await logs.events_between(aws, "g", start=0) == []
        with pytest.raises(AwsError):
            await logs.events_between(aws, "g", start=0)


async def test_a_stream_is_read_on_from_where_one_was(aws: Aws) -> None:
    asked = {"logGroupName": "g", "logStreamName": "s", "startFromHead": True}
    with Stubber(aws.client("logs")) as stub:
        stub.add_client_error("get_log_events", "ResourceNotFoundException")
        told = {"events": [{"message": "one\n"}], "nextForwardToken": "f/1"}
        stub.add_response("get_log_events", told, asked)
        stub.add_response(
            "get_log_events",
            {"events": [], "nextForwardToken": "f/1"},
            asked | {"nextToken": "f/1"},
        )
        stub.add_client_error("get_log_events", "AccessDeniedException")
        assert await logs.next_lines(aws, "g", "s") == ([], "")
        assert await logs.next_lines(aws, "g", "s") == (["one"], "f/1")
        assert await logs.next_lines(aws, "g", "s", "f/1") == ([], "f/1")
        with pytest.raises(AwsError):
            await logs.next_lines(aws, "g", "s", "f/1")


async def test_a_log_group_is_found_by_its_whole_name(aws: Aws) -> None:
    with Stubber(aws.client("logs")) as stub:
        for _ in range(2):
            stub.add_response("describe_log_groups", {"logGroups": [{"logGroupName": "/a/b"}]})
        assert await logs.group_exists(aws, "/a/b")
        assert not await logs.group_exists(aws, "/a")
