"""Every planted fault is well-formed, and the faults cover the catalogue of checks."""

import importlib
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from agents.common.app import Health, Readiness
from tests.validation.catalogue import AREAS, CHECKS
from tests.validation.faults import scene
from tests.validation.faults.fault import Fault, InAgent, InResponses, OnEmulator
from tests.validation.faults.planted import FAULTS, HARMLESS
from tests.validation.faults.scene import Answer, Metric, Refusal, Scene

SCENE = Scene(now=datetime(2026, 11, 26, 12, tzinfo=UTC))
REAL = tuple(fault for fault in FAULTS if not fault.harmless)
WINDOW = {"StartTime": SCENE.before(minutes=15), "EndTime": SCENE.now}
#: Errors that operations may have beside those of their model.
COMMON_ERRORS = {"AccessDeniedException", "NoSuchBucketPolicy", "ValidationException"}


def of_kind(kind: type) -> list[Any]:
    return [pytest.param(item, id=item.id) for item in FAULTS if isinstance(item.planted, kind)]


def planted(fault: Fault) -> tuple[Answer | Metric, ...]:
    assert isinstance(fault.planted, InResponses)
    return fault.planted.answers(SCENE)


@cache
def client(service: str) -> Any:
    """Return a client that calls nobody."""
    return boto3.client(
        service, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def assert_documented(service: str, operation: str, response: Mapping[str, Any]) -> None:
    """Fail if botocore's model of the operation does not have such an output."""
    Stubber(client(service)).add_response(operation, dict(response))


def test_every_fault_names_checks_of_the_catalogue() -> None:
    unknown = {fault.id: set(fault.found_by) - set(CHECKS) for fault in FAULTS}
    assert not {id_: names for id_, names in unknown.items() if names}
    assert all(len(set(fault.found_by)) == len(fault.found_by) for fault in FAULTS)


def test_ids_are_unique_and_written_in_one_way() -> None:
    counted = Counter(fault.id for fault in FAULTS)
    assert not [id_ for id_, number in counted.items() if number > 1]
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", fault.id) for fault in FAULTS)


def test_every_fault_has_one_sentence() -> None:
    assert len({fault.wrong for fault in FAULTS}) == len(FAULTS)
    assert all(fault.wrong.endswith(".") and len(fault.wrong) < 110 for fault in FAULTS)


def test_there_are_enough_faults_and_harmless_variations() -> None:
    assert len(REAL) >= 44
    assert len(HARMLESS) >= 6
    assert all(fault.wrong.startswith("Harmless: ") for fault in HARMLESS)
    assert all(fault.outcome == "FAIL" or fault.where == "responses" for fault in FAULTS)


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_three_faults(area: str) -> None:
    first = [fault.found_by[0] for fault in REAL]
    assert sum(name.startswith(f"{area}.") for name in first) >= 3


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_fault(check: str) -> None:
    assert any(check in fault.found_by for fault in REAL)


@pytest.mark.parametrize("fault", of_kind(OnEmulator))
def test_a_fault_of_the_emulator_changes_and_repairs_in_one_function(fault: Fault) -> None:
    assert isinstance(fault.planted, OnEmulator)
    code = fault.planted.change.__code__
    assert code.co_flags & 0x200, "it is an asynchronous generator: what follows `yield` repairs"


@pytest.mark.parametrize("fault", of_kind(InResponses))
def test_responses_are_documented_and_differ_from_the_good_ones(fault: Fault) -> None:
    answers = [item for item in planted(fault) if isinstance(item, Answer)]
    for answer in answers:
        assert answer.good != answer.bad
        for reply in (answer.good, answer.bad):
            if isinstance(reply, Refusal):
                model = client(answer.service).meta.service_model
                known = {shape.error_code or shape.name for shape in model.error_shapes}
                assert reply.code in known | COMMON_ERRORS
            else:
                assert reply
                for page in reply:
                    assert_documented(answer.service, answer.operation, page)
    if not answers:
        metrics = [item for item in planted(fault) if isinstance(item, Metric)]
        assert any(metric.good != metric.bad for metric in metrics)


@pytest.mark.parametrize("fault", of_kind(InResponses))
def test_arguments_of_an_answer_are_those_of_its_operation(fault: Fault) -> None:
    for answer in planted(fault):
        if isinstance(answer, Answer):
            meta = client(answer.service).meta
            name = meta.method_to_api_mapping[answer.operation]
            assert set(answer.arguments) <= set(
                meta.service_model.operation_model(name).input_shape.members
            )


@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize("fault", of_kind(InResponses))
def test_metrics_are_answered_in_both_shapes(fault: Fault, faulty: bool) -> None:
    metrics = [item for item in planted(fault) if isinstance(item, Metric)]
    assert len(metrics) in (0, len(SCENE.agents), 2 * len(SCENE.agents))
    for metric in metrics:
        asked = {
            "Namespace": metric.namespace,
            "MetricName": metric.name,
            "Dimensions": [{"Name": k, "Value": v} for k, v in metric.dimensions.items()],
        }
        wanted = (metric.bad if faulty else metric.good).items()
        for statistic, values in wanted or [("Average", [])]:
            query = {
                "Id": "m1",
                "MetricStat": {"Metric": asked, "Period": 60, "Stat": statistic},
            }
            data = scene.metric_data(
                metrics, {**WINDOW, "MetricDataQueries": [query]}, planted=faulty
            )
            assert_documented("cloudwatch", "get_metric_data", data)
            kind = "ExtendedStatistics" if statistic.startswith("p") else "Statistics"
            statistics = scene.metric_statistics(
                metrics, {**WINDOW, **asked, "Period": 60, kind: [statistic]}, planted=faulty
            )
            assert_documented("cloudwatch", "get_metric_statistics", statistics)
            assert data["MetricDataResults"][0]["Values"] == list(values)[::-1]
            assert len(statistics["Datapoints"]) == len(values)


def test_a_metric_of_other_dimensions_has_no_values() -> None:
    metric = Metric(
        namespace="N", name="M", dimensions={"A": "a"}, good={"Sum": [1]}, bad={"Sum": [2]}
    )
    asked = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "A", "Value": "b"}]}
    arguments = {**WINDOW, **asked, "Period": 60, "Statistics": ["Sum"]}
    assert scene.metric_statistics([metric], arguments, planted=True)["Datapoints"] == []
    asked["Dimensions"] = [{"Name": "A", "Value": "a"}]
    (point,) = scene.metric_statistics([metric], arguments | asked, planted=True)["Datapoints"]
    assert point == {"Sum": 2, "Timestamp": SCENE.now - timedelta(seconds=60)}


def route(planted: InAgent) -> Any:
    """Return the model of a route's answers."""
    if planted.path in ("/health", "/ready"):
        return {"/health": Health, "/ready": Readiness}[planted.path]
    package = planted.agent.replace("-", "_")
    routes = importlib.import_module(f"agents.{package}.api").router.routes
    return next(
        item.response_model
        for item in routes
        if isinstance(item, APIRoute)
        and (item.path, {planted.method}) == (planted.path, item.methods)
    )


@pytest.mark.parametrize("fault", of_kind(InAgent))
def test_a_fault_of_an_agent_is_an_answer_of_one_of_its_routes(fault: Fault) -> None:
    assert isinstance(fault.planted, InAgent)
    model = route(fault.planted)
    if (fault.planted.status or 200) < 400:
        fields = set(getattr(model, "model_fields", None) or model.__dataclass_fields__)
        assert set(fault.planted.fields) <= fields
    assert fault.planted.fields or fault.planted.status


def test_a_field_of_an_answer_is_replaced_and_the_others_stay() -> None:
    faulty = InAgent(agent="supervisor", method="GET", path="/health", fields={"status": "ill"})
    good = {"status": "healthy", "version": "1"}
    assert faulty.answer(200, good) == (200, {"status": "ill", "version": "1"})


def test_items_of_answers_are_what_the_models_allow() -> None:
    for fault in FAULTS:
        if isinstance(fault.planted, InAgent) and fault.planted.fields.get("items"):
            model = route(fault.planted)
            annotation = model.model_fields["items"].annotation
            try:
                TypeAdapter(annotation).validate_python(fault.planted.fields["items"])
            except ValidationError as error:
                pytest.fail(f"{fault.id}: {error}")
