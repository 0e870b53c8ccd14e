"""Ports of targets: a task keeps its own while its service moves to another."""

from types import SimpleNamespace
from typing import Any

from ci.local.aws import ports

OLD = [{"name": "agent", "portMappings": [{"containerPort": 8000}]}]
NEW = [{"name": "agent", "portMappings": [{"containerPort": 9000}]}]


def test_a_task_without_the_service_s_port_has_its_own() -> None:
    assert ports.own_port(OLD, 9000) == 8000
    assert ports.own_port(NEW, 9000) == 9000
    assert ports.own_port([{"name": "agent"}], 9000) == 9000


def test_targets_are_registered_with_the_ports_of_their_tasks() -> None:
    definitions = {"old": {"containerDefinitions": OLD}, "new": {"containerDefinitions": NEW}}
    tasks = {ip: {"taskDefinitionArn": name, "ip": ip} for name, ip in (("old", "1"), ("new", "2"))}
    ecs: Any = SimpleNamespace(
        _tasks=tasks,
        _task_defs=definitions,
        _task_ip=lambda task: task["ip"],
        _resolve_td_key=lambda arn: arn,
    )
    registered: list[Any] = []
    alb: Any = SimpleNamespace(
        __name__="alb", set_targets_for_group=lambda *a: registered.append(a)
    )
    ports.apply(ecs, alb)
    alb.set_targets_for_group("arn", [("1", 9000), ("2", 9000), ("by hand", 80)], ["1"])
    assert registered == [("arn", [("1", 8000), ("2", 9000), ("by hand", 80)], ["1"])]
