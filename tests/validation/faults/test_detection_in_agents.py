"""Which planted faults of agents the integration checks find."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from ci.aws.elb import Answer
from ci.aws.probing import Request
from tests.unit.validation.site import Site, opened
from tests.validation.faults.agents import FAULTS
from tests.validation.faults.fault import Fault, InAgent
from validation import Status
from validation.integration import CHECKS

#: Faults that another check than the named one finds, and which one.
BY_ANOTHER: Mapping[str, str] = {"agent-not-reached": "integration.goal"}
#: Answers that agents give each other, which pass no load balancer here.
BETWEEN_AGENTS = ("peer-refuses-agents",)
#: Faults by which work never ends: nothing is waited for.
ENDLESS = ("goal-never-ends", "approved-and-not-continued", "deadline-ignored")
TESTED = [
    fault
    for fault in FAULTS
    if fault.id not in BETWEEN_AGENTS
    if fault.harmless or any(name.startswith("integration.") for name in fault.found_by)
]
#: What a fault waits for, and the request after which it is so.
AFTER = {"after the approval": "approve", "after the denial": "deny"}


class Faulty:
    """Changes the answers that a fault is about, in its situation."""

    def __init__(self, fault: Fault, site: Site) -> None:
        assert isinstance(fault.planted, InAgent)
        self.planted, self.site = fault.planted, site
        path = re.sub(r"\\{\w+\\}", "[^/?]+", re.escape(self.planted.path))
        self.path = re.compile(rf".*/{self.planted.agent}{path}(\?.*)?")
        self.decided: set[str] = set()
        self.began = site.house.clock.now()

    def __call__(self, agent: str, request: Request, answer: Answer) -> Answer:
        planted = self.planted
        happens = self._happens()
        if agent == "supervisor" and request.method == "POST" and request.body:
            self.decided.add(str(json.loads(request.body).get("decision")))
        if request.method != planted.method or not self.path.fullmatch(request.url):
            return answer
        if not happens or planted.caller not in ("any", *self._callers(request)):
            return answer
        status, body = planted.answer(answer.status, answer.body)
        return replace(answer, status=status, body=body)

    def _happens(self) -> bool:
        when = self.planted.when
        if when in AFTER:
            return AFTER[when] in self.decided
        if when == "after the deadline":
            return self.site.house.clock.now() > self.began + timedelta(seconds=1)
        return True

    def _callers(self, request: Request) -> set[str]:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = {"": "none", "person-token": "rotated", "agent-token": "agent", "old": "revoked"}
        return {known.get(token, "wrong")}


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with opened(monkeypatch) as found:
        # A token of a version that is neither current nor the one before.
        found.cloud.versions = [{"VersionId": "v0"}]
        found.cloud.secrets["people", "v0"] = json.dumps({"alice": "old"})
        yield found


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.id) for fault in TESTED])
async def test_a_fault_of_an_agent_is_found_by_its_check(site: Site, fault: Fault) -> None:
    named = [name for name in fault.found_by if name.startswith("integration.")]
    named = [BY_ANOTHER[fault.id]] if fault.id in BY_ANOTHER else named
    names = named or [check.id for check in CHECKS]
    found = {}
    if fault.id in ENDLESS:
        site.hurry()
    for name in names:
        site.change = Faulty(fault, site)
        found[name] = (await site.result(name.partition(".")[2])).finding
    failed = [name for name, finding in found.items() if finding.status is Status.FAIL]
    if fault.harmless:
        assert failed == []
    else:
        assert failed, found
