"""CloudFormation templates as dictionaries, for tests to search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Config, Environment

ROOT = Path(__file__).parents[3]


def target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    """Return a target; development unless another environment is given."""
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, env=chosen)


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions."""


def _function(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _function)


def parsed(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(text, Loader)  # noqa: S506 (derived from the safe loader)
    return loaded


def nodes(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from nodes(child)


def statements(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        item for item in nodes(template["Resources"]) if isinstance(item, dict) and "Effect" in item
    ]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(role: dict[str, Any]) -> set[str]:
    return {
        action
        for item in nodes(role["Policies"])
        if isinstance(item, dict) and "Action" in item
        for action in listed(item["Action"])
    }
