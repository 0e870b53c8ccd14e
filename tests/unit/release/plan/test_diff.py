"""The diff of a service: empty for what means the same, never for what does not, no secrets."""

import copy
import dataclasses
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws import canonical
from ci.release.plan.diff import is_secret, sides

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.sampled_from(["LEVEL", "DB_PASSWORD", "URL", "api_token", "PORT", "REGION"])
TEXTS = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=12)
#: What ECS adds to a container by itself. Source: Amazon ECS API Reference, ContainerDefinition.
CONTAINER_DEFAULTS: dict[str, Any] = {
    "cpu": 0,
    "environmentFiles": [],
    "essential": True,
    "mountPoints": [],
    "privileged": False,
    "readonlyRootFilesystem": False,
    "secrets": [],
    "systemControls": [],
    "volumesFrom": [],
}
TASK_DEFAULTS: dict[str, Any] = {
    "compatibilities": ["EC2", "FARGATE"],
    "enableFaultInjection": False,
    "placementConstraints": [],
    "registeredBy": "arn:aws:iam::0:role/x",
    "revision": 4,
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "status": "ACTIVE",
    "volumes": [],
}


@st.composite
def containers(draw: st.DrawFn, name: str) -> dict[str, Any]:
    environment = draw(st.dictionaries(NAMES, TEXTS, max_size=5))
    return {
        "name": name,
        "image": draw(TEXTS),
        "command": draw(st.lists(TEXTS, min_size=2, max_size=3, unique=True)),
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
        "portMappings": [
            {"containerPort": port}
            for port in draw(st.lists(st.integers(1, 65535), max_size=2, unique=True))
        ],
        "healthCheck": {"command": ["CMD", draw(TEXTS)]},
        "dependsOn": draw(st.permutations([{"containerName": "a"}, {"containerName": "b"}])),
    }


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "family": "acso-staging-x",
        "cpu": str(draw(st.sampled_from([256, 512, 1024, 4096]))),
        "memory": str(draw(st.sampled_from([512, 1024, 8192]))),
        "containerDefinitions": [draw(containers(name)) for name in ("main", "side")],
    }


def told(request: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a request as ECS may tell it: other order and units, its defaults added."""
    dice = random.Random(seed)  # noqa: S311 (no secret)
    answer = copy.deepcopy(request)
    dice.shuffle(answer["containerDefinitions"])
    for container in answer["containerDefinitions"]:
        for name in ("environment", "portMappings", "dependsOn"):
            dice.shuffle(container[name])
        for port in container["portMappings"]:
            port |= {"hostPort": port["containerPort"], "protocol": "tcp"}
        _add(container["healthCheck"], {"interval": 30, "timeout": 5, "retries": 3}, dice)
        _add(container, CONTAINER_DEFAULTS, dice)
    if dice.random() < 0.5:
        unit = dice.choice([("{:g} vCPU", "{:g} GB"), ("{:.2f}vcpu", "{:.1f}gb")])
        answer["cpu"] = unit[0].format(int(answer["cpu"]) / 1024)
        answer["memory"] = unit[1].format(int(answer["memory"]) / 1024)
    _add(answer, TASK_DEFAULTS, dice)
    return dict(dice.sample(list(answer.items()), len(answer)))


def _add(told: dict[str, Any], defaults: dict[str, Any], dice: random.Random) -> None:
    """Add some of the defaults where nothing was asked for."""
    for name, value in dice.sample(list(defaults.items()), dice.randint(0, len(defaults))):
        told.setdefault(name, value)


@given(definitions(), st.integers())
def test_order_defaults_and_units_are_never_a_change(request: dict[str, Any], seed: int) -> None:
    found = sides(canonical.definition(told(request, seed)), canonical.definition(request))
    assert found.unified() == ()
    assert list(found.paths()) == []


def changed(request: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a request with one thing in it that means something else."""
    other = copy.deepcopy(request)
    container = dice.choice(other["containerDefinitions"])
    changes: dict[str, Callable[[], object]] = {
        "image": lambda: container.update(image=container["image"] + "x"),
        "argument": lambda: container["command"].append("more"),
        "order of arguments": lambda: container.update(command=container["command"][::-1]),
        "port": lambda: container["portMappings"].append({"containerPort": 70000}),
        "protocol": lambda: container["portMappings"].append(
            {"containerPort": 70001, "protocol": "udp"}
        ),
        "essential": lambda: container.update(essential=False),
        "read-only": lambda: container.update(readonlyRootFilesystem=True),
        "check": lambda: container["healthCheck"].update(interval=7),
        "size": lambda: other.update(cpu=str(int(other["cpu"]) * 2)),
        "volume": lambda: other.update(volumes=[{"name": "v"}]),
        "entry": lambda: container["environment"].append({"name": "NEW", "value": ""}),
        "values": lambda: (
            [item.update(value=item["value"] + "x") for item in container["environment"]]
            or container.update(user="1")
        ),
    }
    dice.choice(list(changes.values()))()
    return other


@given(definitions(), st.integers())
def test_what_means_something_else_is_always_a_change(request: dict[str, Any], seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 (no secret)
    other = told(changed(request, dice), seed)
    found = sides(canonical.definition(other), canonical.definition(request))
    assert list(found.paths())
    assert [line for line in found.unified() if line.startswith(("+", "-"))]


def entry(name: str, value: str) -> str:
    container = {"name": "c", "image": "i", "environment": [{"name": name, "value": value}]}
    return canonical.definition({"containerDefinitions": [container]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hunter2"),
        ("api_token", "t0k"),
        ("SLACK_SECRET", "x1y2"),
        ("STRIPE_APIKEY", "sk_live"),
        ("KEY_ID", "AKIAIOSFODNN7EXAMPLE"),  # pragma: allowlist secret
        ("DATABASE_URL", "postgres://user:hunter2@db/x"),  # pragma: allowlist secret
        ("PEM", "-----BEGIN RSA PRIVATE KEY-----"),  # pragma: allowlist secret
        ("JWT", "eyJhbGciOi.eyJzdWIi"),
        ("HARMLESS", "it is canary-4711 inside"),
    ],
)
def test_a_secret_is_masked_in_every_text_and_a_change_of_it_still_shows(
    name: str, value: str
) -> None:
    for old, new in (
        (entry(name, value), entry(name, value + "-new")),
        (entry("OTHER", "x"), entry(name, value)),
        (entry(name, value), entry(name, "")),
    ):
        found = sides(old, new, ["canary-4711"])
        text = "\n".join([*found.unified(), *found.paths()])
        assert value not in text
        assert "***" in text or "removed" in text
        assert any(line.startswith(("+", "-")) for line in found.unified())


def test_a_secret_that_stays_is_masked_in_the_lines_around_a_change() -> None:
    def both(level: str) -> str:
        items = {"A_PASSWORD": "hunter2", "LEVEL": level}
        environment = [{"name": key, "value": value} for key, value in items.items()]
        container = {"name": "c", "image": "i", "environment": environment}
        return canonical.definition({"containerDefinitions": [container]})

    lines = sides(both("info"), both("debug")).unified()
    assert [line.strip() for line in lines if "PASSWORD" in line] == ['"A_PASSWORD": "***",']
    assert list(sides(both("info"), both("debug")).paths()) == ["environment.LEVEL info -> debug"]


def test_names_given_twice_are_masked_too() -> None:
    twice = [{"name": "TOKEN", "value": "one"}, {"name": "TOKEN", "value": "two"}]
    container = {"name": "c", "image": "i", "environment": twice}
    text = canonical.definition({"containerDefinitions": [container]})
    shown = json.dumps(dataclasses.asdict(sides(text, "{}")))
    assert "one" not in shown
    assert "two" not in shown


def test_the_location_of_a_secret_is_not_masked() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:0:secret:db-password-a1b2c3"
    secrets = [{"name": "DB_PASSWORD", "valueFrom": arn}]
    container = {"name": "c", "image": "i", "secrets": secrets}
    lines = sides("{}", canonical.definition({"containerDefinitions": [container]})).unified()
    assert any(arn in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"), [("ACSO_VERSION", "abc"), ("PORT", "8000"), ("URL", "https://x:443/a@b")]
)
def test_other_values_are_shown(name: str, value: str) -> None:
    assert not is_secret(name, value)
