"""The examples of docs/agents.md on deployed agents, through the load balancer."""

import time

import httpx
import pytest

from tests.e2e.checkout import Checkout, Done
from tests.unit.repository.examples import examples, filled, part, request

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]  # with nothing cached
PATIENCE = 60  # seconds until a workflow has asked for an approval, or has ended


def test_an_attack_is_contained_on_deployed_agents_with_the_examples_as_written(
    checkout: Checkout, deployed: Done
) -> None:
    service = deployed.document["result"]["services"][0]
    token = checkout.acso("token", "--env", "development").out.strip()
    known = {"TOKEN": token, "URL": service["url"].removesuffix(f"/{service['agent']}")}
    with httpx.Client(trust_env=False, timeout=30) as http:
        for example in examples():
            curl = filled(example["curl"], known)
            known |= sent(http, curl, example["name"], example["part"])
        url = f"{known['URL']}/supervisor/workflows/{known['WORKFLOW']}"
        deadline = time.monotonic() + PATIENCE
        while True:
            headers = {"Authorization": f"Bearer {token}"}
            workflow = http.get(url, headers=headers).json()
            if workflow["finished"] or time.monotonic() > deadline:
                break
            time.sleep(0.2)  # between two looks
        assert workflow["status"] == "completed", workflow
        assert http.get(url).status_code == 401


def sent(http: httpx.Client, curl: str, name: str | None, path: str | None) -> dict[str, str]:
    """Send a request until its answer has the part that is asked for; return it by its name."""
    method, url, headers, body = request(curl)
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = http.request(method, url, headers=headers, content=body)
        assert answer.is_success, f"{curl}: {answer.text}"
        if name is None or path is None:
            return {}
        try:
            return {name: part(answer.json(), path)}
        except IndexError:  # the supervisor has not asked yet
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)  # between two looks
