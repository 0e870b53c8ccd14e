"""Telling people of a release: by the environment's SNS topic, and a webhook if there is one.

What is told is made by pure functions; it is sent beside the release, in order. A receiver that
does not take it is said, and changes nothing else.
"""

import json
import math
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http.client import HTTPException

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from ci.aws import sns
from ci.errors import AwsError
from ci.release.model import Notification, Notify, ReleaseContext, Say
from ci.release.outcome import Outcome
from ci.release.records.release import Kind, Release

PATIENCE = 3.0  # seconds that a webhook may take
LAST_WORDS = 6.0  # seconds that a release's end waits for what is not sent yet


def started(release: Release) -> Notification:
    """Return what is told once a release begins: what it changes, of which source, by whom."""
    agents = [entry.agent for entry in release.entries if entry.action != "none"]
    asked = release.request
    what = f"goes back to release {release.origin}"
    if release.kind is Kind.DEPLOY:
        what = f"brings {', '.join(agents) or 'no change of an agent'}"
    commit = f" of commit {asked.commit[:12]}" if asked.commit else ""
    by = f" (by {asked.actor})" if asked.actor else ""
    return _notice(release, "started", f"started: release {release.id}{commit} {what}{by}")


def going_back(release: Release, why: str) -> Notification:
    """Return what is told once a release has failed, before anything is undone."""
    to = f"release {release.base}" if release.base else "what ran before"
    return _notice(release, "rolling_back", f"rolling back: release {release.id}: {why}\nto {to}")


def ended(outcome: Outcome) -> Notification:
    """Return what is told at a release's end; `event` is the name of its ending."""
    word = "success" if outcome.ok else str(outcome.kind).replace("_", " ")
    left = "" if outcome.ok else outcome.left()
    return Notification(
        environment=outcome.environment,
        release=outcome.release,
        event=str(outcome.kind),
        text="\n".join(filter(None, [f"{word}: {outcome.summary()}", left])),
    )


@asynccontextmanager
async def notifying(
    context: ReleaseContext, say: Say, *, webhook: str = ""
) -> AsyncIterator[Notify]:
    """Send what is told inside to the environment's topic and the webhook, one after the other.

    Args:
        context: the environment.
        say: told of what could not be sent.
        webhook: http(s) URL that takes Slack's `{"text": ...}`; a secret, so it is in no message.
    """
    send, receive = anyio.create_memory_object_stream[Notification](math.inf)
    sent = anyio.Event()
    async with anyio.create_task_group() as group:

        async def deliver() -> None:
            await _deliver(context, webhook, receive, say)
            sent.set()

        group.start_soon(deliver)
        try:
            yield send.send_nowait
        finally:
            send.close()
            with anyio.move_on_after(LAST_WORDS, shield=True):
                await sent.wait()
            group.cancel_scope.cancel()


async def _deliver(
    context: ReleaseContext,
    webhook: str,
    notices: MemoryObjectReceiveStream[Notification],
    say: Say,
) -> None:
    receivers: dict[str, Callable[[Notification], Awaitable[None]]] = {
        f"topic {context.outputs.topic}": partial(_publish, context)
    }
    if webhook:
        receivers["the webhook"] = partial(_post, webhook)
    async with notices:
        async for notice in notices:
            for name, send in receivers.items():
                try:
                    await send(notice)
                except AwsError as error:
                    say(f"not told to {name}: {error}")


async def _publish(context: ReleaseContext, notice: Notification) -> None:
    first = notice.text.partition("\n")[0]
    await sns.publish(
        context.aws,
        context.outputs.topic,
        subject=f"ACSO {notice.environment}: {first}",
        text=f"{notice.environment}: {notice.text}",
        attributes={
            "environment": notice.environment,
            "release": notice.release,
            "event": notice.event,
        },
    )


async def _post(url: str, notice: Notification) -> None:
    # Source: Slack, "Sending messages using incoming webhooks".
    body = json.dumps({"text": f"*ACSO {notice.environment}* {notice.text}"}).encode()
    await anyio.to_thread.run_sync(_post_now, url, body, abandon_on_cancel=True)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a redirected POST would become a GET of somewhere else."""

    def redirect_request(self, *_: object) -> None:
        """Refuse; the redirect itself is the answer then."""


def _post_now(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 (seen above)
        with urllib.request.build_opener(_Stay).open(request, timeout=PATIENCE):
            return
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer, with its connection
        message = f"HTTP {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        # Its own words may hold the URL, which is a secret.
        message = type(getattr(error, "reason", error)).__name__
    raise AwsError(message, service="webhook", operation="post")


def _notice(release: Release, event: str, text: str) -> Notification:
    return Notification(environment=release.environment, release=release.id, event=event, text=text)
