"""Notifications of a release: to the environment's SNS topic, and to a webhook if there is one.

They are sent in order, in parallel to the release. One that cannot be delivered is reported, and
does not affect the release.
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

WEBHOOK_TIMEOUT = 3.0  # seconds
FLUSH_SECONDS = 6.0  # at most, to send the remaining notifications at the end of a release


def started(release: Release) -> Notification:
    """Return the notification of a release's start: what it changes, its source, and who asked."""
    agents = [entry.agent for entry in release.entries if entry.action != "none"]
    asked = release.request
    what = f"rolls back to release {release.origin}"
    if release.kind is Kind.DEPLOY:
        what = f"updates {', '.join(agents) or 'no agent'}"
    commit = f" of commit {asked.commit[:12]}" if asked.commit else ""
    by = f" (by {asked.actor})" if asked.actor else ""
    return _notice(release, "started", f"started: release {release.id}{commit} {what}{by}")


def rolling_back(release: Release, why: str) -> Notification:
    """Return the notification of a failed release, sent before its rollback."""
    to = f"release {release.base}" if release.base else "what ran before"
    return _notice(release, "rolling_back", f"rolling back: release {release.id}: {why}\nto {to}")


def ended(outcome: Outcome) -> Notification:
    """Return the notification of a release's end; its event is the outcome's kind."""
    label = "success" if outcome.ok else str(outcome.kind).replace("_", " ")
    remaining = "" if outcome.ok else outcome.remaining_state()
    return Notification(
        environment=outcome.environment,
        release=outcome.release,
        event=str(outcome.kind),
        text="\n".join(filter(None, [f"{label}: {outcome.summary()}", remaining])),
    )


@asynccontextmanager
async def notifying(
    context: ReleaseContext, say: Say, *, webhook: str = ""
) -> AsyncIterator[Notify]:
    """Yield a function that sends a notification to the environment's topic and the webhook.

    Args:
        context: the environment.
        say: receives a message for each notification that could not be sent.
        webhook: URL that accepts Slack's `{"text": ...}`; a secret, so no message contains it.
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
            with anyio.move_on_after(FLUSH_SECONDS, shield=True):
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
                    say(f"notification to {name} failed: {error}")


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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would turn the redirected POST into a GET."""

    def redirect_request(self, *_: object) -> None:
        """Return None: the redirect itself is then the response."""


def _post_now(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 (seen above)
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=WEBHOOK_TIMEOUT):
            return
    except urllib.error.HTTPError as error:
        error.close()  # the error is the response, with its connection
        message = f"HTTP {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        # The error's text may contain the URL, which is a secret.
        message = type(getattr(error, "reason", error)).__name__
    raise AwsError(message, service="webhook", operation="post")


def _notice(release: Release, event: str, text: str) -> Notification:
    return Notification(environment=release.environment, release=release.id, event=event, text=text)
