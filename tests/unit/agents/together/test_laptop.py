"""All agents in one process on a developer's machine."""

import json
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from agents.common.aws import Aws
from agents.laptop.app import NAMES, together
from agents.laptop.prepare import PERSON, prepare

AGENTS = (
    "supervisor",
    "threat-hunter",
    "incident-response",
    "service-orchestration",
    "financial-intelligence",
)


@pytest.fixture(autouse=True)
def logging_of_this_process() -> Iterator[None]:
    """Undo what the application does to the logging of the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # so that configuring closes none of pytest's
    yield
    root.handlers = handlers
    root.setLevel(level)


Laptop = tuple[httpx.AsyncClient, str]


@pytest.fixture
async def laptop(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Laptop]:
    """Return a client of all agents, and a person's token."""
    endpoint = aws.client("dynamodb").meta.endpoint_url
    prepared = prepare(aws)
    settings = {
        NAMES: ",".join(AGENTS),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "ACSO_STATE_TABLE": prepared.table,
        "ACSO_PEOPLE_SECRET": prepared.people,
        "ACSO_AGENTS_SECRET": prepared.agents,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    app = together()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://laptop") as client,
    ):
        yield client, prepared.token


async def test_each_path_is_sent_to_its_agent(laptop: Laptop) -> None:
    client, token = laptop
    for name in AGENTS:
        assert (await client.get(f"/{name}/health")).json()["agent"] == name
        assert (await client.get(f"/{name}/whoami")).status_code == 401
        known = await client.get(f"/{name}/whoami", headers={"Authorization": f"Bearer {token}"})
        assert known.json()["name"] == PERSON, known.text


@pytest.mark.parametrize("path", ["/", "/nobody/health", "/health"])
async def test_a_path_of_no_agent_is_not_found_and_the_answer_names_the_agents(
    laptop: Laptop, path: str
) -> None:
    answer = await laptop[0].get(path)
    assert answer.status_code == 404
    assert "/supervisor, /threat-hunter" in answer.json()["detail"]


async def test_each_log_line_names_its_agent(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    together()  # logs to what is the standard output now
    for name in AGENTS:
        await laptop[0].get(f"/{name}/whoami")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    named = {line["path"].split("/")[1]: line["agent"] for line in lines if "path" in line}
    assert named == {name: name for name in AGENTS}


def test_what_exists_already_stays_the_same(aws: Aws) -> None:
    assert prepare(aws) == prepare(aws)
