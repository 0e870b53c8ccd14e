"""Deployments of services, health and load balancers as AWS documents them, on real containers."""

import threading

import pytest

from tests.local.aws import Aws, eventually

pytestmark = pytest.mark.docker
#: A health check that fails until the file exists.
FILE_CHECK = {"command": ["CMD", "ls", "/tmp/fine"], "interval": 1, "retries": 2, "timeout": 2}


def test_a_first_deployment_is_in_progress_until_its_targets_are_healthy(aws: Aws) -> None:
    # ECS API Reference, Deployment.rolloutState: "When a service deployment is started, it begins
    # in an IN_PROGRESS state"; it is COMPLETED when the service reaches a steady state. ELB User
    # Guide, "Health checks for target groups": initial until a check passes.
    service = aws.service(aws.definition({"WAIT": "yes"}))
    eventually(lambda: service.look()["runningCount"] == 1)
    assert (service.state(), service.targets()) == ("IN_PROGRESS", ["initial"])
    aws.container(service.tasks()[0]["taskArn"]).exec_run(["touch", "/tmp/start"])
    service.completed()
    assert service.targets() == ["healthy"]
    messages = [item["message"] for item in service.look()["events"]]
    assert messages[0] == f"(service {service.name}) has reached a steady state."
    # ECS API Reference, Task.startedBy: the deployment's id, for a task that a service started.
    assert service.tasks()[0]["startedBy"] == service.look()["deployments"][0]["id"]
    service.delete()


def test_a_rolling_update_fails_no_request(aws: Aws) -> None:
    # ECS Developer Guide, "Rolling update": with 100 and 200 percent new tasks start beside the
    # old ones. ELB User Guide: only healthy targets get requests; a deregistering one finishes
    # those it has. "Optimize load balancer connection draining": deregistered, then SIGTERM.
    service = aws.service(aws.definition({"VERSION": "one"}), desiredCount=2)
    service.completed()
    with service.load() as load:
        eventually(lambda: load.answers["one"] > 20)
        service.update(aws.definition({"VERSION": "two", "DELAY": "1"}))
        service.completed()
        at = load.answers["two"]
        eventually(lambda: load.answers["two"] > at + 20)
    assert set(load.answers) == {"one", "two"}
    assert service.get() == "two"
    stopped = service.tasks("STOPPED")
    assert {task["stopCode"] for task in stopped} == {"ServiceSchedulerInitiated"}
    service.delete()


def test_a_deregistered_target_finishes_its_open_requests(aws: Aws) -> None:
    # ELB User Guide, "Deregistration delay": requests in flight are completed, the target is
    # draining meanwhile and gets no new ones.
    service = aws.service(aws.definition({"VERSION": "one"}))
    service.completed()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(service.get("/wait")))
    thread.start()
    container = aws.container(service.tasks()[0]["taskArn"])
    eventually(lambda: container.exec_run(["ls", "/tmp/here"]).exit_code == 0)
    service.update(aws.definition({"VERSION": "two"}))
    eventually(lambda: service.targets() == ["draining", "healthy"])
    assert service.get() == "two"
    assert container.exec_run(["touch", "/tmp/leave"]).exit_code == 0
    thread.join()
    assert answers == ["one"]
    eventually(lambda: service.targets() == ["healthy"])
    service.delete()


def test_tasks_that_crash_trigger_the_circuit_breaker_and_the_old_ones_keep_running(
    aws: Aws,
) -> None:
    # ECS Developer Guide, "How the deployment circuit breaker detects failures": after the
    # threshold the deployment is FAILED, with rollback the last completed one is primary again.
    service = aws.service(aws.definition({"VERSION": "good"}))
    service.completed()
    with service.load() as load:
        failed = service.update(aws.crashing())
        eventually(lambda: service.deployments().get(failed) == ("ACTIVE", "FAILED"))
        service.completed()
    assert set(load.answers) == {"good"}
    ended = [task for task in service.tasks("STOPPED") if task["startedBy"] == failed]
    assert [task["containers"][0]["exitCode"] for task in ended] == [3, 3, 3]
    # ECS API Reference, Service.deployments: primary ones and those that still have tasks; the
    # waiter ServicesStable waits for there to be one.
    eventually(lambda: failed not in service.deployments())
    stable = aws.client("ecs").get_waiter("services_stable")
    stable.wait(cluster="tests", services=[service.name], WaiterConfig={"MaxAttempts": 1})
    service.delete()


def test_a_first_deployment_that_crashes_fails_and_is_not_restarted(aws: Aws) -> None:
    # The same page: the circuit breaker applies to every deployment of a rolling update, also the
    # first one, and stops launching tasks.
    service = aws.service(aws.crashing(), balanced=False)
    eventually(lambda: service.state() == "FAILED")
    ended = len(service.tasks("STOPPED"))
    assert (ended, service.tasks()) == (3, [])
    service.delete()


def test_a_container_that_is_never_healthy_is_replaced_and_triggers_the_circuit_breaker(
    aws: Aws,
) -> None:
    # The same page: a task that is replaced because its container health check fails counts.
    # "Determine Amazon ECS task health using container health checks": UNHEALTHY after `retries`.
    service = aws.service(
        aws.definition(healthCheck=FILE_CHECK),
        balanced=False,
        breaker={"thresholdConfiguration": {"type": "COUNT", "value": 2}},
    )
    eventually(lambda: service.state() == "FAILED")
    reasons = {(task["stopCode"], task["stoppedReason"]) for task in service.tasks("STOPPED")}
    assert reasons == {("ServiceSchedulerInitiated", "Task failed container health checks")}
    service.delete()


def test_unhealthy_targets_trigger_the_circuit_breaker_and_the_old_ones_keep_running(
    aws: Aws,
) -> None:
    # ELB User Guide, "Health checks for target groups": unhealthy after UnhealthyThresholdCount
    # checks with another code than the matcher's. ECS, "Deployment circuit breaker": it counts.
    service = aws.service(
        aws.definition({"VERSION": "good"}),
        breaker={"thresholdConfiguration": {"type": "COUNT", "value": 1}},
    )
    service.completed()
    with service.load() as load:
        failed = service.update(aws.definition({"VERSION": "bad", "STATUS": "500"}))
        eventually(lambda: service.deployments().get(failed) == ("ACTIVE", "FAILED"))
    assert set(load.answers) == {"good"}
    stopped = [task for task in service.tasks("STOPPED") if task["startedBy"] == failed]
    assert stopped[0]["stoppedReason"].startswith("Task failed ELB health checks in (target-group")
    service.delete()


def test_a_deployment_waits_for_healthy_containers_and_replaces_unhealthy_ones(aws: Aws) -> None:
    # ECS Developer Guide, "Service scheduler concepts": tasks that fail their health checks are
    # stopped and replaced, whenever it happens.
    service = aws.service(aws.definition(healthCheck=FILE_CHECK | {"retries": 3}), balanced=False)
    eventually(lambda: service.tasks() and service.tasks()[0]["lastStatus"] == "RUNNING")
    first = service.tasks()[0]
    assert (service.state(), first["healthStatus"]) == ("IN_PROGRESS", "UNKNOWN")
    container = aws.container(first["taskArn"])
    container.exec_run(["touch", "/tmp/fine"])
    service.completed()
    assert service.tasks()[0]["healthStatus"] == "HEALTHY"
    container.exec_run(["rm", "/tmp/fine"])
    eventually(lambda: [task["taskArn"] for task in service.tasks()] != [first["taskArn"]])
    assert aws.task(first["taskArn"])["stoppedReason"] == "Task failed container health checks"
    service.delete()


def test_the_tasks_of_a_service_are_spread_over_the_zones_of_its_subnets(aws: Aws) -> None:
    # ECS Developer Guide, "Use strategies to define Amazon ECS task placement": Fargate tasks are
    # spread across Availability Zones.
    zones = ["us-east-1a", "us-east-1b"]
    there = {"Filters": [{"Name": "availability-zone", "Values": zones}]}
    found = aws.client("ec2").describe_subnets(**there)["Subnets"]
    network = {"subnets": [subnet["SubnetId"] for subnet in found]}
    service = aws.service(
        aws.definition({"VERSION": "one"}),
        balanced=False,
        desiredCount=2,
        networkConfiguration={"awsvpcConfiguration": network},
    )
    eventually(lambda: len(service.tasks()) == 2)
    assert sorted(task["availabilityZone"] for task in service.tasks()) == zones
    service.delete()
