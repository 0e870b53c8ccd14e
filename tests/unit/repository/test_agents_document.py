"""The examples of docs/agents.md, run as they are written on all agents in one process."""

import re
import shlex
from pathlib import Path
from typing import Any

import httpx

from agents.supervisor.driver import Driver
from tests.unit.agents.house import House
from tests.unit.repository.conftest import ROOT

DOCUMENT = ROOT / "docs" / "agents.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: An example: a request, and perhaps the variable that gets a part of its answer.
EXAMPLE = re.compile(
    r"^(?:(?P<name>[A-Z]+)=\$\()?(?P<curl>curl .*?)(?: \| jq -r (?P<part>\S+)\))?$",
    re.DOTALL | re.MULTILINE,
)
AGENTS = sorted(path.parent.name.replace("_", "-") for path in ROOT.glob("agents/*/__main__.py"))


def examples() -> list[re.Match[str]]:
    """Return the examples; one ends where the next begins."""
    blocks = [block for block in BLOCK.findall(DOCUMENT.read_text()) if "curl " in block]
    starts = re.compile(r"\n(?=(?:[A-Z]+=\$\()?curl )")
    found = [EXAMPLE.fullmatch(text.strip()) for block in blocks for text in starts.split(block)]
    assert all(found)
    return [match for match in found if match]


def request(curl: str) -> tuple[str, str, dict[str, str], str | None]:
    """Return method, URL, headers and body of a curl command."""
    words = shlex.split(curl)
    assert words[:2] == ["curl", "-sf"]
    url, method, body, headers = words[2], "", None, {}
    options = iter(words[3:])
    for option in options:
        value = next(options)
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text
        elif option == "-X":
            method = value
        else:
            assert option == "-d"
            body = value
    return method or ("GET" if body is None else "POST"), url, headers, body


def part(document: Any, path: str) -> str:
    """Return what `jq -r` prints for a simple path."""
    for key, index in re.findall(r"(\w+)(?:\[(\d+)\])?", path):
        document = document[key]
        document = document[int(index)] if index else document
    return str(document)


async def test_every_example_works_from_top_to_bottom() -> None:
    house = House()
    known = {"URL": "http://balancer", "TOKEN": "person-token"}
    called: set[str] = set()
    for example in examples():
        curl = re.sub(r"\$([A-Z]+)", lambda match: known[match[1]], example["curl"])
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


async def test_every_path_of_an_agent_is_in_an_example() -> None:
    text = DOCUMENT.read_text()
    for agent in AGENTS:
        async with House().client(agent) as http:
            paths = (await http.get("/openapi.json")).json()["paths"]
        for path in paths:
            if path in ("/health", "/ready", "/metrics"):
                continue
            pattern = re.sub(r"\\{\w+\\}", r"[$\\w-]+", re.escape(f"/{agent}{path}"))
            assert re.search(rf"{pattern}[\"?]", text), f"{agent} {path}"


def test_the_page_is_linked() -> None:
    assert "(docs/agents.md)" in (Path(ROOT) / "README.md").read_text()
