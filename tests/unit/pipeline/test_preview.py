"""A plan's document and exit code: what `deploy --plan` takes, and what it refuses."""

import json
from typing import Any

import pytest

from ci import infra
from ci.errors import UsageError
from ci.pipeline.preview import Preview, SavedPlan, parse
from ci.release import Image, Plan
from ci.release.plan.changes import compare
from ci.release.plan.desired import desired_service
from tests.unit.json_documents import result
from tests.unit.release.plan.test_changes import HERE, running

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
    result("plan").validate(found.data())


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


def test_a_plan_says_who_may_apply_resources_and_what_running_services_notice() -> None:
    assert "administrator" not in previewed().text()
    text = previewed(NOTHING, RESOURCE).text()
    assert "these need an administrator" in text
    assert "./acso bootstrap --env staging" in text
    assert previewed(NOTHING, RESOURCE).data()["administrator"] is True
    image = Image(agent="threat-hunter", version="v1", reference="r/x@sha256:1")
    wanted = desired_service(HERE, image)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "no running service notices"),
        ({"settings": "{}"}, "updated without new tasks: threat-hunter"),
    )
    for change, expected in cases:
        plan = Plan(
            environment="staging", changes=(compare(wanted, running(image=image, **change)),)
        )
        assert previewed(plan, RESOURCE).text().splitlines()[-1] == expected
    other = Image(agent="threat-hunter", version="v2", reference="r/x@sha256:2")
    plan = Plan(environment="staging", changes=(compare(desired_service(HERE, other), running()),))
    assert previewed(plan).text().splitlines()[-1] == (
        "tasks replaced by a rolling update: threat-hunter"
    )
