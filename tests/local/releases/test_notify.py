"""Notices reach a topic's subscribers and a webhook; one that fails changes nothing else."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ci import release
from ci.release import notifications
from tests.local.releases.environment import REQUEST, World, validation

pytestmark = pytest.mark.docker

NOTICE = release.Notification(environment="e", release="r", event="started", text="t")


@contextmanager
def webhook(answer: Callable[[], int]) -> Iterator[tuple[str, list[str]]]:
    """Serve a webhook on loopback: its URL, and the texts that it was told."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            texts.append(json.loads(body)["text"])
            status = answer()
            if status:
                self.send_response(status)
                self.send_header("Location", self.path + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/secret", texts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def heard(world: World) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A queue that is subscribed to the environment's topic; returns what came."""
    sqs, sns = world.context.aws.client("sqs"), world.context.aws.client("sns")
    url = sqs.create_queue(QueueName="notices")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn = asked["Attributes"]["QueueArn"]
    made = sns.subscribe(TopicArn=world.context.outputs.topic, Protocol="sqs", Endpoint=arn)

    def messages() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return [json.loads(item["Body"]) for item in found.get("Messages", [])]

    try:
        yield messages
    finally:
        sns.unsubscribe(SubscriptionArn=made["SubscriptionArn"])
        sqs.delete_queue(QueueUrl=url)


async def told(world: World, images: list[release.Image], url: str) -> release.Outcome:
    async with notifications.notifying(world.context, world.say, webhook=url) as tell:
        options = release.ReleaseOptions(notify=tell)
        return await release.deploy(
            world.context, images, REQUEST, validation(True), world.say, options
        )


async def test_a_failed_release_is_sent_to_the_topic_and_the_webhook(
    world: World, heard: Callable[[], list[dict[str, Any]]]
) -> None:
    assert (await world.deploy(world.images("good"))).ok
    with webhook(lambda: 200) as (url, texts):
        outcome = await told(world, world.images("good", threat_hunter="crash"), url)
    assert not outcome.ok
    messages = heard()
    events = [item["MessageAttributes"]["event"]["Value"] for item in messages]
    assert sorted(events) == ["rolled_back", "rolling_back", "started"]
    (last,) = (m for m in messages if m["MessageAttributes"]["event"]["Value"] == "rolled_back")
    assert last["Subject"].startswith("ACSO development: rolled back: release 20")
    assert "agent threat-hunter does not stay up" in last["Message"]
    assert [text.split("* ")[1].partition(":")[0] for text in texts] == [
        "started",
        "rolling back",
        "rolled back",
    ]


@pytest.mark.parametrize(
    ("status", "said"), [(500, "HTTP 500"), (302, "HTTP 302"), (0, "RemoteDisconnected")]
)
async def test_a_failed_webhook_is_reported_without_its_url(
    world: World, status: int, said: str
) -> None:
    said_before = len(world.lines)
    with webhook(lambda: status) as (url, texts):
        async with notifications.notifying(world.context, world.say, webhook=url) as tell:
            tell(NOTICE)
            tell(NOTICE)
    assert len(texts) == 2
    assert world.lines[said_before:] == [f"notification to the webhook failed: {said}"] * 2


async def test_a_webhook_that_never_answers_delays_a_release_by_seconds_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "WEBHOOK_TIMEOUT", 0.5)
    monkeypatch.setattr(notifications, "FLUSH_SECONDS", 1.0)
    free = threading.Event()

    def hang() -> int:
        free.wait(30)
        return 200

    try:
        with webhook(hang) as (url, texts):
            async with notifications.notifying(world.context, world.say, webhook=url) as tell:
                for _ in range(20):
                    tell(NOTICE)
            assert len(texts) < 20  # the rest was dropped
    finally:
        free.set()
    assert "notification to the webhook failed: TimeoutError" in world.lines


async def test_a_release_whose_notifications_fail_is_no_failure(world: World) -> None:
    known: Any = world.context.outputs
    lost = f"{known.topic}-gone"
    outputs = dataclasses.replace(known, topic=lost)
    lonely = dataclasses.replace(world, context=dataclasses.replace(world.context, outputs=outputs))
    with webhook(lambda: 500) as (url, texts):
        outcome = await told(lonely, world.images("good", threat_hunter="good-untold"), url)
    assert outcome.ok
    assert len(texts) == 2
    assert any(line.startswith(f"notification to topic {lost} failed: ") for line in world.lines)
