"""One spelling for what ECS knows under many."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws.canonical import definition, service

NETWORK = {"awsvpcConfiguration": {"subnets": ["b", "a"], "securityGroups": ["s"]}}


def task(**container: Any) -> dict[str, Any]:
    return {"family": "f", "containerDefinitions": [{"name": "c", "image": "i", **container}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"cpu": "512"}, {"cpu": "0.5 vCPU"}),
        ({"cpu": "512"}, {"cpu": 512}),
        ({"memory": "2048"}, {"memory": "2 GB"}),
        ({"memory": "2048"}, {"memory": "2gb"}),
        ({}, {"status": "ACTIVE", "revision": 3, "registeredBy": "me"}),
        ({}, {"volumes": [], "taskRoleArn": "", "proxyConfiguration": None}),
        ({}, {"runtimePlatform": {"cpuArchitecture": "X86_64"}}),
        ({"requiresCompatibilities": ["A", "B"]}, {"requiresCompatibilities": ["B", "A"]}),
    ],
)
def test_two_spellings_are_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert definition(task() | one) == definition(task() | other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"essential": True}, {}),
        ({"healthCheck": {"command": ["x"]}}, {"healthCheck": {"command": ["x"], "retries": 3}}),
        (
            {"portMappings": [{"containerPort": 1}]},
            {"portMappings": [{"containerPort": 1, "hostPort": 1, "protocol": "tcp"}]},
        ),
        (
            {"environment": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]},
            {"environment": [{"name": "b", "value": "2"}, {"name": "a", "value": "1"}]},
        ),
    ],
)
def test_two_spellings_of_a_container_are_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert definition(task(**one)) == definition(task(**other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"command": ["a", "b"]}, {"command": ["b", "a"]}),
        ({"essential": False}, {}),
        ({"portMappings": [{"containerPort": 1}]}, {"portMappings": [{"containerPort": 2}]}),
        ({"readonlyRootFilesystem": True}, {}),
        ({"mountPoints": [{"sourceVolume": "v"}]}, {}),
    ],
)
def test_what_differs_stays_different(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert definition(task(**one)) != definition(task(**other))


@given(st.sampled_from([256, 512, 1024, 4096, 16384]))
def test_units_come_out_as_numbers(units: int) -> None:
    text = definition(task() | {"cpu": f"{units / 1024} vCPU", "memory": f"{units / 1024} GB"})
    assert (json.loads(text)["cpu"], json.loads(text)["memory"]) == (str(units), str(units))


def test_a_service_is_only_what_a_release_decides() -> None:
    asked = {"desiredCount": 2, "networkConfiguration": NETWORK}
    told = {
        **asked,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["a", "b"],
                "securityGroups": ["s"],
                "assignPublicIp": "DISABLED",
            }
        },
        "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
        "healthCheckGracePeriodSeconds": 0,
        "runningCount": 1,
        "events": [{"message": "x"}],
        "serviceConnectConfiguration": {"enabled": True},
    }
    assert service(asked) == service(told)
    assert service(asked) != service(asked | {"desiredCount": 3})
    assert service(asked) != service(asked | {"healthCheckGracePeriodSeconds": 30})
