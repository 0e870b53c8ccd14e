"""The five agents in this process behind a load balancer, and the AWS beside them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest

from agents.common.store.memory import MemoryTable
from agents.supervisor.driver import Driver
from ci.aws.elb import Answer
from ci.aws.probing import Probe, Request
from ci.errors import AwsError
from tests.unit.agents.house import House
from tests.unit.release.conftest import CONFIG, ENV
from validation import CheckContext, client, run_checks
from validation.integration import CHECKS, alarm, approvals, work
from validation.model import Result

ACCOUNT = "123456789012"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:acso-staging-alerts"
OUTPUTS = {"PeopleSecret": "people", "AgentsSecret": "agents", "Topic": TOPIC} | {
    f"TaskRole{agent.name}": f"arn:aws:iam::{ACCOUNT}:role/{agent.name}" for agent in CONFIG.agents
}


@dataclass
class Cloud:
    """The AWS that the integration checks use, with answers of documented shape."""

    region: str = "us-east-1"
    allowed: tuple[str, ...] = ()
    wired: bool = True
    secrets: dict[tuple[str, str], str] = field(
        default_factory=lambda: {
            ("people", "AWSCURRENT"): json.dumps({"alice": "person-token"}),
            ("agents", "AWSCURRENT"): "agent-token",
        }
    )
    versions: list[dict[str, Any]] = field(default_factory=list)
    queues: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    subscriptions: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    fails: str = ""

    async def call(self, service: str, operation: str, /, **given: Any) -> Any:
        self.calls.append(f"{service}:{operation}")
        await anyio.sleep(0.05)
        if operation == self.fails:
            message = f"{service} {operation}: AccessDeniedException"
            raise AwsError(message, action=operation, code="AccessDeniedException")
        return getattr(self, operation)(**given)

    async def pages(self, service: str, operation: str, key: str, /, **given: Any) -> Any:
        return (await self.call(service, operation, **given)).get(key, [])

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()]
        stack = {"StackName": StackName, "StackStatus": "CREATE_COMPLETE", "Outputs": outputs}
        return {"Stacks": [stack]}

    def get_secret_value(
        self,
        SecretId: str,  # noqa: N803
        VersionStage: str = "AWSCURRENT",  # noqa: N803
        VersionId: str = "",  # noqa: N803
    ) -> Any:
        text = self.secrets.get((SecretId, VersionId or VersionStage))
        if text is None:
            raise AwsError("no such version", code="ResourceNotFoundException")
        return {"SecretString": text}

    def list_secret_version_ids(self, SecretId: str, IncludeDeprecated: bool) -> Any:  # noqa: ARG002, N803
        return {"Versions": self.versions}

    def simulate_principal_policy(self, ActionNames: list[str], **_: Any) -> Any:  # noqa: N803
        decisions = {True: "allowed", False: "implicitDeny"}
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": decisions[name in self.allowed]}
                for name in ActionNames
            ]
        }

    def list_queues(self, QueueNamePrefix: str) -> Any:  # noqa: N803
        return {"QueueUrls": [url for url in self.queues if QueueNamePrefix in url]}

    def get_queue_attributes(self, **_: Any) -> Any:
        return {"Attributes": {"CreatedTimestamp": "0"}}

    def create_queue(self, QueueName: str, Attributes: Any) -> Any:  # noqa: ARG002, N803
        self.queues[f"https://queue/{QueueName}"] = []
        return {"QueueUrl": f"https://queue/{QueueName}"}

    def subscribe(self, Endpoint: str, **_: Any) -> Any:  # noqa: N803
        self.subscriptions.add(Endpoint)
        return {"SubscriptionArn": Endpoint}

    def unsubscribe(self, SubscriptionArn: str) -> Any:  # noqa: N803
        self.subscriptions.discard(SubscriptionArn)

    def set_alarm_state(self, AlarmName: str, StateValue: str, StateReason: str) -> Any:  # noqa: ARG002, N803
        if self.states.get(AlarmName) != StateValue and StateValue == "ALARM" and self.wired:
            for messages in self.queues.values():
                messages.append(json.dumps({"AlarmName": AlarmName}))
        self.states[AlarmName] = StateValue

    def receive_message(self, QueueUrl: str, **_: Any) -> Any:  # noqa: N803
        found, self.queues[QueueUrl] = self.queues[QueueUrl], []
        return {"Messages": [{"Body": text} for text in found]}

    def delete_queue(self, QueueUrl: str) -> Any:  # noqa: N803
        del self.queues[QueueUrl]


Answering = Callable[[str, Request, Answer], Answer]


@dataclass
class Site(Probe):
    """The agents behind a load balancer; `change` may change what they answer."""

    patch: pytest.MonkeyPatch
    house: House = field(default_factory=House)
    cloud: Cloud = field(default_factory=Cloud)
    change: Answering = lambda _agent, _request, answer: answer
    works: bool = True
    clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    async def send(self, request: Request) -> Answer:
        url = httpx.URL(request.url)
        _, agent, rest = url.raw_path.decode().split("/", 2)
        if agent == "supervisor" and request.method == "GET" and self.works:
            self.house.clock.advance(1)
            await Driver(runtime=self.house.runtime("supervisor")).sweep()
        if agent not in self.clients:
            self.clients[agent] = self.house.client(agent, Accept="application/json")
        answer = await self.clients[agent].request(
            request.method, f"/{rest}", headers=dict(request.headers), content=request.body
        )
        body = answer.json()
        found = Answer(status=answer.status_code, body=body if isinstance(body, dict) else {})
        return self.change(agent, request, found)

    def start(self) -> None:
        """Do nothing: the agents are here."""

    async def ready(self) -> None:
        """Return at once."""

    async def result(self, name: str) -> Result:
        """Return what an integration check finds."""
        aws: Any = self.cloud
        context = CheckContext(aws=aws, config=CONFIG, env=ENV, url="http://balancer", probe=self)
        check = next(check for check in CHECKS if check.id == f"integration.{name}")
        return (await run_checks("integration", [check], context, ACCOUNT)).results[0]

    def left(self) -> dict[str, list[str]]:
        """Return the ids of what is stored, apart from the addresses of attackers."""
        table = self.house.table
        assert isinstance(table, MemoryTable)
        return {pk: list(rows) for pk, rows in table._rows.items() if rows}

    def hurry(self) -> None:
        """Let checks wait half a second for work, which will not end."""
        wait(self.patch, 0.5)


def wait(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let checks wait this long for work and for notifications."""
    for module, name in ((work, "WORK_SECONDS"), (approvals, "WORK_SECONDS"), (alarm, "ARRIVAL")):
        patch.setattr(module, name, seconds)


@asynccontextmanager
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Open a site whose checks wait long enough on a machine with much to do."""
    wait(monkeypatch, 25.0)
    monkeypatch.setattr(client, "PAUSE", 0.01)
    site = Site(patch=monkeypatch)
    site.house.clock.time = datetime.now(UTC)
    yield site
    for used in site.clients.values():
        await used.aclose()
