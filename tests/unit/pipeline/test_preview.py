"""A plan's document and exit code: what `deploy --plan` takes, and what it refuses."""

import json
from typing import Any

import pytest

from ci import infra
from ci.errors import UsageError
from ci.pipeline.preview import Preview, Promise, parse
from ci.release import Plan

PROMISE = Promise(
    environment="staging",
    seen={"service acso-staging-supervisor": "absent"},
    stands={"account": "123456789012 in us-east-1"},
    brings={"version of supervisor": "abc"},
)
RESOURCE = infra.ResourceChange(action="Modify", logical_id="Logs", kind="AWS::Logs::LogGroup")
NOTHING = Plan(environment="staging", changes=())


def previewed(services: Plan | None = NOTHING, *resources: infra.ResourceChange) -> Preview:
    return Preview(services=services, resources=resources, promise=PROMISE)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param(previewed(), 0, id="nothing"),
        pytest.param(previewed(NOTHING, RESOURCE), 2, id="only infrastructure"),
        pytest.param(previewed(None), 2, id="no service stands yet"),
    ],
)
def test_the_exit_code_says_whether_anything_would_change(found: Preview, code: int) -> None:
    assert found.exit_code == code
    assert found.data()["changed"] is (code == 2)


@pytest.mark.parametrize("wrapped", [False, True], ids=["--output", "--json"])
def test_the_document_holds_the_promise(*, wrapped: bool) -> None:
    document = previewed(NOTHING, RESOURCE).data()
    assert document["resources"][0]["logical_id"] == "Logs"
    text = json.dumps({"command": "plan", "result": document} if wrapped else document)
    assert parse(text, "staging") == PROMISE


def promise(**changes: Any) -> str:
    return json.dumps({"promise": PROMISE.data() | changes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no plan"),
        ("[]", "is no plan"),
        ('{"result": []}', "is no plan"),
        ('{"services": []}', "is no plan"),
        ('{"promise": {"format": 1}}', "is no plan"),
        (promise(more={}), "is no plan"),
        (promise(format=99), "another version"),
        (promise(seen={"a": 1}), "another version"),
        (promise(environment="production"), "is of production, not of staging"),
    ],
)
def test_what_is_no_plan_of_this_environment_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        parse(text, "staging")
    assert raised.value.hint == "make one: ./acso plan --env staging --output plan.json"
