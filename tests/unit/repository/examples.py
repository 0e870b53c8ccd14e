"""The examples of docs/agents.md, and what they mean."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from tests.unit.repository.conftest import ROOT

DOCUMENT = ROOT / "docs" / "agents.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: An example: a request, and perhaps the variable that gets a part of its answer.
EXAMPLE = re.compile(
    r"^(?:(?P<name>[A-Z]+)=\$\()?(?P<curl>curl .*?)(?: \| jq -r (?P<part>\S+)\))?$",
    re.DOTALL | re.MULTILINE,
)
AGENTS = sorted(path.parent.name.replace("_", "-") for path in ROOT.glob("agents/*/api.py"))


def examples() -> list[re.Match[str]]:
    """Return the examples; one ends where the next begins."""
    blocks = [block for block in BLOCK.findall(DOCUMENT.read_text()) if "curl " in block]
    starts = re.compile(r"\n(?=(?:[A-Z]+=\$\()?curl )")
    found = [EXAMPLE.fullmatch(text.strip()) for block in blocks for text in starts.split(block)]
    assert all(found)
    return [match for match in found if match]


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return a command with its variables replaced."""
    return re.sub(r"\$([A-Z]+)", lambda match: known[match[1]], text)


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
