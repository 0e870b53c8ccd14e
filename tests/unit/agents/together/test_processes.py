"""An attack on agents in processes of their own, over DynamoDB, two copies each, killed midway.

In the matrix, because ten processes and an emulator start for it.
"""

import http.client
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agents.common.aws import Aws
from tests.unit.agents.serving import Handler, serving
from tests.unit.agents.together.test_scenario import attack

pytestmark = pytest.mark.matrix
AGENTS = ("supervisor", "threat-hunter", "incident-response", "service-orchestration")
PATIENCE = 120  # seconds, on a loaded machine
PERSON = {"Authorization": "Bearer person-token"}


@dataclass
class Balancer:
    """Sends `/{agent}/...` to the copies of an agent in turn, as the load balancer does."""

    ports: dict[str, list[int]] = field(default_factory=dict)
    turn: Iterator[int] = field(default_factory=itertools.count)
    url: str = ""

    def forward(self, handler: Handler) -> None:
        ports = self.ports[handler.path.split("/")[1]]
        port = ports[next(self.turn) % len(ports)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = dict(handler.headers)
            connection.request(handler.command, handler.path, handler.body(), headers)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except OSError:
            status, content = 502, b"{}"
        finally:
            connection.close()
        handler.answer(status, content)


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    found = Balancer()

    with serving(found.forward) as found.url:
        yield found


@pytest.fixture
def environ(aws: Aws, dynamo_name: str, balancer: Balancer) -> dict[str, str]:
    client = aws.client("secretsmanager")
    tokens = {"PEOPLE": json.dumps({"alice": "person-token"}), "AGENTS": "agent-token"}
    secrets = {
        f"ACSO_{name}_SECRET": client.create_secret(
            Name=f"{name}-{uuid.uuid4().hex[:8]}", SecretString=text
        )["ARN"]
        for name, text in tokens.items()
    }
    return secrets | {
        "ACSO_STATE_TABLE": dynamo_name,
        "ACSO_URL": balancer.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": client.meta.endpoint_url,
        "AWS_REGION": "us-east-1",
    }


def until(found: Callable[[], Any]) -> Any:
    """Return what is found, once it is."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)  # between two looks
    return result


def test_no_task_is_lost_or_done_twice_while_copies_are_killed_and_replaced(
    start: Callable[..., Any], balancer: Balancer, environ: dict[str, str]
) -> None:
    def copy(agent: str) -> Any:
        return start("-m", f"agents.{agent.replace('-', '_')}", **environ)

    running = {agent: [copy(agent), copy(agent)] for agent in AGENTS}
    for agent, copies in running.items():
        for process in copies:
            process.until("startup complete")
        balancer.ports[agent] = [process.port for process in copies]
    with httpx.Client(base_url=balancer.url, headers=PERSON, timeout=60, trust_env=False) as http_:
        body = {"goal": "Look into the breach", "events": attack(), "require_approval": True}
        workflow = http_.post("/supervisor/workflows", json=body).json()
        [pending] = until(lambda: http_.get("/supervisor/approvals").json()["items"])
        # One copy of each is killed, and a new one of the supervisor takes its place.
        for agent in ("supervisor", "incident-response"):
            running[agent][0].popen.kill()
            del balancer.ports[agent][0]
        new = copy("supervisor")
        new.until("startup complete")
        balancer.ports["supervisor"].append(new.port)
        decision = {"decision": "approve"}
        decided = http_.post(f"/supervisor/approvals/{pending['id']}", json=decision)
        assert decided.json()["status"] == "approved"

        def ended() -> Any:
            found = http_.get(f"/supervisor/workflows/{workflow['id']}").json()
            return found if found["finished"] else None

        final = until(ended)
        assert final["status"] == "completed", final
        [incident] = http_.get("/incident-response/incidents").json()["items"]
        assert incident["status"] == "contained"
        intents = http_.get(f"/incident-response/incidents/{incident['id']}/intents").json()
        assert len(intents["items"]) == len(incident["steps"]) == 3
        assert len(http_.get("/service-orchestration/tickets").json()["items"]) == 1
        assert len(http_.get("/threat-hunter/findings").json()["items"]) == 1
