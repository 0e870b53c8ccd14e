"""The examples of docs/agents.md, run as they are written on all agents in one process."""

import re
from pathlib import Path

import httpx

from agents.supervisor.driver import Driver
from tests.unit.agents.house import House
from tests.unit.repository.conftest import ROOT
from tests.unit.repository.examples import AGENTS, DOCUMENT, examples, filled, part, request


async def test_every_example_works_from_top_to_bottom() -> None:
    house = House()
    known = {"URL": "http://balancer", "TOKEN": "person-token"}
    called: set[str] = set()
    for example in examples():
        curl = filled(example["curl"], known)
        method, url, headers, body = request(curl)
        agent = httpx.URL(url).path.split("/")[1]
        async with house.client(agent) as http:
            path = httpx.URL(url).raw_path.decode()
            answer = await http.request(method, path, headers=headers, content=body)
        assert answer.is_success, f"{curl}: {answer.text}"
        called.add(f"{method} {agent}")
        if example["name"]:
            known[example["name"]] = part(answer.json(), example["part"])
        await Driver(runtime=house.runtime("supervisor")).sweep()
    assert {name.split()[1] for name in called} == set(AGENTS)
    async with house.client("supervisor") as http:
        workflow = (await http.get(f"/workflows/{known['WORKFLOW']}")).json()
    assert workflow["status"] == "completed", workflow


#: Paths of all agents; the page describes them once.
COMMON = {"/health", "/ready", "/metrics", "/whoami", "/model", "/peers/{agent}", "/drills/{name}"}


async def test_every_path_of_an_agent_is_in_an_example() -> None:
    text = DOCUMENT.read_text()
    for agent in AGENTS:
        async with House().client(agent) as http:
            paths = (await http.get("/openapi.json")).json()["paths"]
        for path in paths:
            if path in COMMON:
                assert path.partition("{")[0].rstrip("/") in text, path
                continue
            pattern = re.sub(r"\\{\w+\\}", r"[$\\w-]+", re.escape(f"/{agent}{path}"))
            assert re.search(rf"{pattern}[\"?]", text), f"{agent} {path}"


def test_the_page_is_linked() -> None:
    assert "(docs/agents.md)" in (Path(ROOT) / "README.md").read_text()
