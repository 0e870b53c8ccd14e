"""The checklist of docs/aws.md, block by block, on an embedded AWS of its own.

Slow: two environments, of up to ten tasks, with their bake times.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.checkout import Checkout
from tests.e2e.conftest import copied
from tests.unit.repository.checklist import Block, blocks, edited

pytestmark = [pytest.mark.docker, pytest.mark.matrix, pytest.mark.timeout(3600)]
SECRET = {"token": "made-up"}
#: What a line as written is replaced by; docs/aws.md lists it.
REPLACED = {"git push origin main": "./acso deploy --env staging"}
ZONE = "Z0123456789ABCDEFGHIJ"
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """An empty account in the embedded AWS, and the clone that is deployed to it."""

    clone: Checkout
    endpoint: str

    def client(self, service: str) -> Any:
        """Return an administrator's client of a service."""
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def hosted_zone(self) -> str:
        """Create a hosted zone, as step 3 asks for; return its id."""
        made = self.client("route53").create_hosted_zone(Name="example.com", CallerReference="one")
        return str(made["HostedZone"]["Id"]).rpartition("/")[2]

    def request(self, service: str, operation: str, *options: str) -> None:
        """Send the request of a line of the AWS command line."""
        names = [part.removeprefix("--").title().replace("-", "") for part in options[::2]]
        values = [self.value(text) for text in options[1::2]]
        call = getattr(self.client(service), operation.replace("-", "_"))
        call(**dict(zip(names, values, strict=True)))

    def value(self, text: str) -> str:
        """Return the value of an option; `file://` names the file that has it."""
        if not text.startswith("file://"):
            return text
        return (self.clone.root / text.removeprefix("file://")).read_text()


@pytest.fixture
def account(checkout: Checkout, tmp_path: Path) -> Iterator[Account]:
    """A clone on `main` and an embedded AWS in which nothing exists."""
    root = copied(tmp_path / "clone")
    git(root, "branch", "--move", "main")
    (tmp_path / "search.json").write_text(json.dumps(SECRET))
    clone = replace(checkout, root=root, instance=f"{checkout.instance}-list")
    try:
        up = clone.acso("up")
        assert up.code == 0, up.err
        yield Account(clone=clone, endpoint=re.findall(r"embedded AWS at (\S+)", up.out)[-1])
    finally:
        assert clone.acso("down").code == 0


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=root, check=True)


def test_the_checklist_leads_from_an_empty_account_to_production(account: Account) -> None:
    zone = account.hosted_zone()
    for block in blocks():
        if block.kind == "toml":
            edit = block.text.replace(ZONE, zone)
            account.clone.edit("acso.toml", partial(edited, edit=edit))
            continue
        for line in block.lines:
            run(account, block, REPLACED.get(line, line))
    for name, tasks in (("staging", 1), ("production", 2)):
        done = account.clone.acso("status", "--env", name, "--aws", "local", "--json")
        assert done.code == 0, done.err
        services = done.document["result"]["services"]
        assert {item["health"] for item in services} == {"healthy"}
        assert {item["running"] for item in services} == {tasks}


def run(account: Account, block: Block, line: str) -> None:
    """Run one line as it is replaced on the embedded AWS."""
    program, *arguments = shlex.split(line)
    if program == "git":
        git(account.clone.root, *arguments)
    elif program == "aws":
        account.request(*arguments)
    else:
        local = [] if arguments[0] == "doctor" else ["--aws", "local"]
        done = account.clone.acso(*arguments, *local)
        assert done.code == 0, f"step {block.step}: {line}: {done.err}{done.out}"
