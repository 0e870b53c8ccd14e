"""Content versions: they follow an agent's inputs and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.config import Agent
from ci.stages.build import content_version, recipe_digest

AGENTS = tuple(
    Agent(name=name, port=8000, health_path="/health", calls=())
    for name in ("supervisor", "threat-hunter", "threat")
)
FILES = {
    "agents/__init__.py": "a",
    "agents/common/app.py": "b",
    "agents/supervisor/logic.py": "c",
    "agents/threat_hunter/logic.py": "d",
    "agents/threat/logic.py": "e",
    "locks/agents.lock": "f",
}


def versions(files: dict[str, str], recipe: str = "r") -> list[str]:
    return [content_version(recipe, files, agent) for agent in AGENTS]


def changed(before: list[str], after: list[str]) -> list[str]:
    return [agent.name for agent, a, b in zip(AGENTS, before, after, strict=True) if a != b]


def test_an_agent_s_code_changes_only_its_own_version() -> None:
    after = versions(FILES | {"agents/threat_hunter/logic.py": "new"})
    assert changed(versions(FILES), after) == ["threat-hunter"]


def test_code_of_an_agent_that_is_not_in_acso_toml_changes_no_version() -> None:
    assert versions(FILES | {"agents/removed/logic.py": "z"}) == versions(FILES)


def test_a_new_file_counts_as_a_change() -> None:
    after = versions(FILES | {"agents/threat/extra.py": "new"})
    assert changed(versions(FILES), after) == ["threat"]


def test_common_code_locks_and_the_recipe_change_every_version() -> None:
    everyone = [agent.name for agent in AGENTS]
    for path in ("agents/common/app.py", "agents/__init__.py", "locks/agents.lock"):
        assert changed(versions(FILES), versions(FILES | {path: "new"})) == everyone
    assert changed(versions(FILES), versions(FILES, recipe="new")) == everyone


def test_agents_with_the_same_inputs_still_have_their_own_versions() -> None:
    assert len(set(versions({"locks/agents.lock": "f"}))) == len(AGENTS)


@given(st.permutations(list(FILES.items())))
def test_the_order_in_which_files_are_listed_does_not_matter(items: list[tuple[str, str]]) -> None:
    assert versions(dict(items)) == versions(FILES)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("python:3.11-slim@sha256:a", "docker.io/library/python:3.11-slim@sha256:a", True),
        ("python:3.11-slim@sha256:a", "python:3.11-slim@sha256:b", False),
        ("acso/debian-python3:bookworm-1", "acso/debian-python3:bookworm-2", False),
    ],
)
def test_of_the_base_image_the_digest_counts_and_not_the_name(
    first: str, second: str, *, same: bool
) -> None:
    made = [recipe_digest("linux/amd64", reference) for reference in (first, second)]
    assert (made[0] == made[1]) is same


def test_the_platform_counts() -> None:
    amd64, arm64 = (recipe_digest(f"linux/{name}", "x@sha256:a") for name in ("amd64", "arm64"))
    assert amd64 != arm64
