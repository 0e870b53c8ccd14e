"""How task definitions of the ECS API and of CloudFormation are translated."""

import pytest

from ci.local.aws.containers import (
    local_image,
    run_options,
    task_volumes,
    with_reachable_addresses,
)
from ci.local.aws.scheduler import restart_delay
from ci.local.aws.task_health import health_rule
from ci.local.aws.templates import camel_case_keys


def test_an_empty_definition_sets_no_options() -> None:
    assert run_options({"name": "a", "image": "b"}, {}) == {}


def test_a_container_without_a_memory_limit_gets_that_of_its_task() -> None:
    assert run_options({}, {"memory": "512", "cpu": "256"}) == {
        "mem_limit": "512m",
        "memswap_limit": "512m",
        "cpu_shares": 256,
    }
    assert run_options({"memory": 64}, {"memory": "512"})["mem_limit"] == "64m"


def test_a_folder_of_the_host_is_no_volume_of_the_task() -> None:
    volumes = [{"name": "own"}, {"name": "host", "host": {"sourcePath": "/srv"}}]
    mounts = [
        {"sourceVolume": "own", "containerPath": "/tmp"},
        {"sourceVolume": "host", "containerPath": "/data"},
    ]
    assert task_volumes({"mountPoints": mounts}, {"volumes": volumes}) == ["/tmp"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/a/b:1", "localhost:4566/a/b:1"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/a@sha256:0", "localhost:4566/a@sha256:0"),
        ("1.dkr.ecr.cn-north-1.amazonaws.com.cn/a", "localhost:4566/a"),
        ("python:3.11-slim", "python:3.11-slim"),
        ("registry.test/dkr.ecr/a", "registry.test/dkr.ecr/a"),
        ("localhost:4566/a", "localhost:4566/a"),
    ],
)
def test_only_the_registry_of_an_aws_account_is_replaced(image: str, expected: str) -> None:
    assert local_image(image, "localhost:4566") == expected


def test_the_load_balancer_s_address_is_the_one_that_containers_reach() -> None:
    env = {
        "AWS_ENDPOINT_URL": "http://172.17.0.1:4566",
        "ACSO_URL": "http://127.0.0.1:4566/_alb/acso-development-alb",
        "OTHER": "http://127.0.0.1:45660/x",
    }
    assert with_reachable_addresses(env) == {
        "ACSO_URL": "http://172.17.0.1:4566/_alb/acso-development-alb"
    }
    assert with_reachable_addresses({"ACSO_URL": "http://127.0.0.1:1/"}) == {}


def test_a_template_s_keys_become_those_of_the_api_except_keys_chosen_by_users() -> None:
    template = {
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {"awslogs-group": "G", "Mode": "x"},
        },
        "DockerLabels": {"My.Label": "x"},
        "Secrets": [{"Name": "A", "ValueFrom": "b"}],
        "Memory": 64,
    }
    assert camel_case_keys(template) == {
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": "G", "Mode": "x"},
        },
        "dockerLabels": {"My.Label": "x"},
        "secrets": [{"name": "A", "valueFrom": "b"}],
        "memory": 64,
    }


def test_the_defaults_of_a_health_check_are_those_of_ecs() -> None:
    # ECS API Reference, HealthCheck: interval 30, retries 3, startPeriod off.
    assert (health_rule({}).interval, health_rule({}).failures, health_rule({}).grace) == (30, 3, 0)


def test_the_delay_of_restarts_grows_up_to_a_maximum() -> None:
    assert [restart_delay(number) for number in (1, 3, 4, 5, 6)] == [0, 0, 2, 4, 8]
    assert restart_delay(1000) == 60
