"""The checklist of docs/aws.md, block by block, on the embedded AWS.

Slow: two environments, of up to ten tasks, with their bake times.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import boto3
import pytest

from tests.e2e.checkout import Checkout
from tests.unit.repository.checklist import Block, blocks, edited

pytestmark = [pytest.mark.docker, pytest.mark.matrix, pytest.mark.timeout(1800)]
SECRET = {"token": "made-up"}
#: What a line as written is replaced by; docs/aws.md lists it.
REPLACED = {
    "git push origin main": "./acso deploy --env staging",
}
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


@pytest.fixture
def clone(checkout: Checkout) -> Iterator[Checkout]:
    """A checkout on `main`, as the checklist begins with; as it was before at the end."""
    root = checkout.root
    git(root, "checkout", "--quiet", "-b", "main")
    secret = root.parent / "search.json"
    secret.write_text(json.dumps(SECRET))
    yield checkout
    secret.unlink()
    git(root, "checkout", "--quiet", "develop")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=root, check=True)


def test_the_checklist_leads_from_an_empty_account_to_production(clone: Checkout) -> None:
    for block in blocks():
        if block.kind == "toml":
            clone.edit("acso.toml", partial(edited, edit=block.text))
            continue
        for line in block.lines:
            run(clone, block, REPLACED.get(line, line))
    for name, tasks in (("staging", 1), ("production", 2)):
        done = clone.acso("status", "--env", name, "--aws", "local", "--json")
        assert done.code == 0, done.err
        services = done.document["result"]["services"]
        assert {item["health"] for item in services} == {"healthy"}
        assert {item["running"] for item in services} == {tasks}


def run(clone: Checkout, block: Block, line: str) -> None:
    """Run one line as it is replaced on the embedded AWS."""
    program, *arguments = shlex.split(line)
    if program == "git":
        git(clone.root, *arguments)
    elif program == "aws":
        request(clone, arguments)
    else:
        local = [] if arguments[0] == "doctor" else ["--aws", "local"]
        done = clone.acso(*arguments, *local)
        assert done.code == 0, f"step {block.step}: {line}: {done.err}{done.out}"


def request(clone: Checkout, arguments: list[str]) -> None:
    """Send the request of a line of the AWS command line."""
    up = clone.acso("up")
    assert up.code == 0, up.err
    endpoint = re.findall(r"embedded AWS at (\S+)", up.out)[-1]
    service, operation, *options = arguments
    names = [part.removeprefix("--").title().replace("-", "") for part in options[::2]]
    values = [
        (clone.root / value.removeprefix("file://")).read_text()
        if value.startswith("file://")
        else value
        for value in options[1::2]
    ]
    client = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    getattr(client, operation.replace("-", "_"))(**dict(zip(names, values, strict=True)))
