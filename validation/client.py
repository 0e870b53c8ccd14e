"""The agents as a caller sees them: requests with a token, as part of a drill."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio

from ci.aws import tokens
from ci.aws.elb import Answer
from ci.aws.probing import Request
from ci.common.concurrency import parallel
from ci.errors import AwsError
from validation import environment
from validation.model import CheckContext, Finding, UnreadableError, failed

#: The header that makes a request part of a drill (agents/common/store/drill.py).
DRILL = "X-Acso-Drill"
SECONDS = 20.0  # for a request
#: Seconds between two looks at work that is under way, and for the removal of a drill.
PAUSE, REMOVAL = 0.3, 15.0


class WrongAnswerError(Exception):
    """An agent did not answer as it should, or its work did not end: the check fails."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Tokens:
    """A person's token and the agents' own."""

    person: str
    agent: str


@dataclass(frozen=True, kw_only=True)
class Agents:
    """The agents of an environment; `drill` names what all requests are part of."""

    context: CheckContext
    tokens: Tokens
    drill: str = ""

    async def ask(
        self, agent: str, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> Answer:
        """Send a request; `token` is a person's unless given, empty for none.

        The body is a JSON document, or text that is sent as it is.

        Raises:
            AwsError: the request could not be sent, which says nothing about the agent.
        """
        sent = self.tokens.person if token is None else token
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {sent}"} if sent else {}
        headers |= {DRILL: self.drill} if self.drill else {}
        request = Request(
            method=method,
            url=f"{self.context.url}/{agent}{path}",
            headers=headers,
            body=None if body is None else _encoded(body),
            seconds=SECONDS,
        )
        answer = await self.context.probe.send(request)
        if not answer.examined:
            raise AwsError(answer.error)
        return answer

    async def done(self, agent: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request and return its document; raises `WrongAnswerError` if it was not done."""
        answer = await self.ask(agent, method, path, body)
        if not 200 <= answer.status < 300:
            message = f"{agent} {method} {path}: {answer}"
            raise WrongAnswerError(message)
        return dict(answer.body)

    async def until(
        self, agent: str, path: str, ended: Callable[[Mapping[str, Any]], bool], *, seconds: float
    ) -> dict[str, Any]:
        """Ask again until the document is as wanted; raises `WrongAnswerError` after `seconds`."""
        end = anyio.current_time() + seconds
        while True:
            found = await self.done(agent, "GET", path)
            if ended(found):
                return found
            if anyio.current_time() > end:
                state = found.get("status", "not as wanted")
                message = f"{agent} {path} is still {state} after {seconds:g} s"
                raise WrongAnswerError(message)
            await anyio.sleep(PAUSE)

    async def remove(self) -> list[str]:
        """Remove all that the drill has stored; return what could not be removed."""

        async def one(agent: str) -> list[str]:
            answer = await self.ask(agent, "DELETE", f"/drills/{self.drill}")
            if answer.status == 200:
                return []
            return [f"{agent} keeps what the drill stored for an hour: {answer}"]

        names = [agent.name for agent in self.context.config.agents]
        return [text for texts in await parallel(one, names) for text in texts]


def _encoded(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode()


async def agents_of(context: CheckContext) -> Agents:
    """Return the agents with the tokens of the environment; raises `AwsError`."""
    return Agents(context=context, tokens=await context.reads.get("tokens", lambda: _read(context)))


async def _read(context: CheckContext) -> Tokens:
    people = named(
        await tokens.text(context.aws, await environment.output(context, "PeopleSecret"))
    )
    agents = named(
        await tokens.text(context.aws, await environment.output(context, "AgentsSecret"))
    )
    if not people or not agents:
        raise UnreadableError("the environment's secrets have no token")
    return Tokens(person=people[0], agent=agents[0])


def named(text: str) -> list[str]:
    """Return the tokens of a secret's text that are no hashes: one, or a JSON object of names."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    found = list(document.values()) if isinstance(document, dict) else [text.strip()]
    return [str(token) for token in found if token and not str(token).startswith("sha256:")]


def failing(
    run: Callable[[CheckContext], Awaitable[Finding]],
) -> Callable[[CheckContext], Awaitable[Finding]]:
    """Return a check's function for which a wrong answer is a failure."""

    async def whole(context: CheckContext) -> Finding:
        try:
            return await run(context)
        except WrongAnswerError as error:
            return failed(str(error), "every request is done")

    return whole


def drilled(
    name: str, work: Callable[[CheckContext, Agents], Awaitable[Finding]]
) -> Callable[[CheckContext], Awaitable[Finding]]:
    """Return a check's function whose work is a drill: all it stores is removed, also after errors.

    A wrong answer is a failure. What cannot be removed is a warning: it expires within an hour.
    """

    async def run(context: CheckContext) -> Finding:
        agents = await agents_of(context)
        agents = replace(agents, drill=f"validation-{name}-{secrets.token_hex(4)}")
        left: list[str] = []
        try:
            finding = await work(context, agents)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(REMOVAL):
                left += await agents.remove()
        return replace(finding, warnings=(*finding.warnings, *left))

    return failing(run)
