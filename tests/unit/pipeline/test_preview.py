"""A plan's document and exit code: what `deploy --plan` takes, and what it refuses."""

import json
from typing import Any

import pytest

from ci import infra
from ci.errors import UsageError
from ci.pipeline.preview import Preview, SavedPlan, parse
from ci.release import Plan

SAVED = SavedPlan(
    environment="staging",
    services={"service acso-staging-supervisor": "absent"},
    infrastructure={"account": "123456789012 in us-east-1"},
    result={"version of supervisor": "abc"},
)
RESOURCE = infra.ResourceChange(action="Modify", logical_id="Logs", kind="AWS::Logs::LogGroup")
NOTHING = Plan(environment="staging", changes=())


def previewed(services: Plan | None = NOTHING, *resources: infra.ResourceChange) -> Preview:
    return Preview(services=services, resources=resources, saved=SAVED)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param(previewed(), 0, id="nothing"),
        pytest.param(previewed(NOTHING, RESOURCE), 2, id="only infrastructure"),
        pytest.param(previewed(None), 2, id="nothing is deployed yet"),
    ],
)
def test_the_exit_code_says_whether_anything_would_change(found: Preview, code: int) -> None:
    assert found.exit_code == code
    assert found.data()["changed"] is (code == 2)


@pytest.mark.parametrize("wrapped", [False, True], ids=["--output", "--json"])
def test_the_document_holds_the_saved_plan(*, wrapped: bool) -> None:
    document = previewed(NOTHING, RESOURCE).data()
    assert document["resources"][0]["logical_id"] == "Logs"
    text = json.dumps({"command": "plan", "result": document} if wrapped else document)
    assert parse(text, "staging") == SAVED


def document(**changes: Any) -> str:
    return json.dumps({"saved": SAVED.data() | changes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a plan"),
        ("[]", "is not a plan"),
        ('{"result": []}', "is not a plan"),
        ('{"services": []}', "is not a plan"),
        ('{"saved": {"format": 2}}', "is not a plan"),
        (document(more={}), "is not a plan"),
        (document(format=99), "another version"),
        (document(services={"a": 1}), "another version"),
        (document(environment="production"), "was made for production, not for staging"),
    ],
)
def test_what_is_no_plan_of_this_environment_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        parse(text, "staging")
    assert raised.value.hint == "make one: ./acso plan --env staging --output plan.json"
