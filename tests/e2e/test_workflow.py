"""The workflow's step from a push to validated services, as a runner of GitHub executes it.

Slow, because it checks, builds and deploys for real: containers, registry, load balancer.
"""

import json
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout, health
from tests.unit.github import workflow
from tests.unit.github.issuer import issuing
from tests.unit.github.workflow import COMMIT, Event

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]  # with nothing cached
DEVELOP = Event(name="push", ref="refs/heads/develop")


@pytest.fixture
def aws(checkout: Checkout) -> dict[str, str]:
    """Where the embedded AWS of the checkout is, as arguments of the module."""
    done = checkout.acso("up")
    assert done.code == 0, done.err
    endpoint = done.out.split()[-1]
    return {
        "endpoint": endpoint,
        "registry": endpoint.replace("http://127.0.0.1", "localhost"),
        "load_balancer": f"{endpoint}/_alb/{{name}}",
    }


def test_a_push_to_develop_deploys_development_with_an_identity_and_no_keys(
    checkout: Checkout, aws: dict[str, str], tmp_path: Path
) -> None:
    environ = checkout.environ | {
        "ACSO_TEST_AWS": json.dumps(aws),
        "PYTHONPATH": str(checkout.root),
    }
    with issuing(DEVELOP.subject) as issuer:
        identity = issuer.environ()
        done = workflow.run(DEVELOP, tmp_path, environ | identity, cwd=checkout.root)
    assert done.returncode == 0, done.stderr + done.stdout
    assert issuer.audiences == ["sts.amazonaws.com"]
    assert "is live in development" in done.stdout
    assert identity["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] not in done.stdout + done.stderr
    for agent, service in checkout.status().items():
        base = aws["load_balancer"].format(name="acso-development-alb")
        assert health(f"{base}/{agent}")["version"] == service["version"]
    told = checkout.acso("history", "--env", "development", "--json")
    newest = told.document["result"]["releases"][0]
    assert (newest["commit"], newest["branch"], newest["actor"]) == (COMMIT, DEVELOP.ref, "ann")
    assert newest["state"] == "succeeded"
