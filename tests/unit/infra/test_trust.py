"""Whom roles trust: exact subjects, and what is said of one that they do not trust."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.config import Config, load
from ci.infra.trust import DEPLOY, PROMOTE, advice, subjects

CONFIG = load(Path(__file__).parents[2] / "acso.toml")
IDS = {"owner_id": "123456", "repository_id": "456789"}
MAIN = "repo:o/acso:ref:refs/heads/main"
IMMUTABLE_MAIN = "repo:o@123456/acso@456789:ref:refs/heads/main"


def config(**project: Any) -> Config:
    return replace(CONFIG, project=replace(CONFIG.project, repository="o/acso", **project))


def trusted(settings: Config, name: str, kind: str = DEPLOY, **changes: Any) -> tuple[str, ...]:
    return subjects(settings, replace(settings.environment(name), **changes), kind)


def test_a_branch_deploys_its_environment_and_a_github_environment_its_own() -> None:
    assert trusted(config(), "development") == ("repo:o/acso:ref:refs/heads/develop",)
    assert trusted(config(), "staging") == (MAIN,)
    assert trusted(config(), "production") == ("repo:o/acso:environment:production",)
    assert trusted(config(), "staging", event="release") == (
        MAIN,
        "repo:o/acso:environment:staging",
    )


def test_a_promote_role_trusts_the_environments_that_promote_from_its_own_and_no_branch() -> None:
    assert trusted(config(), "staging", PROMOTE) == ("repo:o/acso:environment:production",)
    assert trusted(config(), "production", PROMOTE) == ()
    assert trusted(config(), "development", PROMOTE) == ()


def test_immutable_subjects_hold_both_ids() -> None:
    mine = config(**IDS)
    assert trusted(mine, "staging") == (IMMUTABLE_MAIN,)
    assert trusted(mine, "staging", PROMOTE) == (
        "repo:o@123456/acso@456789:environment:production",
    )


def test_without_a_repository_nobody_is_trusted() -> None:
    for kind in (DEPLOY, PROMOTE):
        assert trusted(CONFIG, "staging", kind) == ()


def test_no_subject_has_a_wildcard_or_a_tag() -> None:
    for settings in (config(), config(**IDS)):
        for name in settings.environments:
            for kind in (DEPLOY, PROMOTE):
                for subject in trusted(settings, name, kind):
                    assert not set("*?,") & set(subject)
                    assert "refs/tags" not in subject


@pytest.mark.parametrize(
    ("found", "roles", "said"),
    [
        pytest.param(
            IMMUTABLE_MAIN,
            (MAIN,),
            'set owner_id = "123456" and repository_id = "456789" in [project]',
            id="immutable",
        ),
        pytest.param(MAIN, (IMMUTABLE_MAIN,), "remove owner_id and repository_id", id="classic"),
        pytest.param(
            IMMUTABLE_MAIN.replace("456789", "1"),
            (IMMUTABLE_MAIN,),
            'repository_id = "1"',
            id="another repository of the same name",
        ),
        pytest.param(
            MAIN.replace("o/", "O/"), (MAIN,), 'set repository = "O/acso"', id="repository"
        ),
        pytest.param(
            "repo:o/acso:ref:refs/heads/feature",
            (MAIN,),
            "runs for ref:refs/heads/feature; only ref:refs/heads/main may assume the role",
            id="branch",
        ),
        pytest.param(
            "repo:o/acso:ref:refs/tags/v1",
            ("repo:o/acso:environment:production",),
            "only environment:production may assume the role",
            id="a job without its environment",
        ),
        pytest.param(MAIN, (MAIN,), "apply the role as acso.toml has it", id="not applied"),
        pytest.param(MAIN, (), "no job may assume this role", id="nobody"),
        pytest.param("", (MAIN,), "not of a GitHub job", id="unreadable"),
        pytest.param("repository_owner_id:1", (MAIN,), "not of a GitHub job", id="custom"),
    ],
)
def test_advice_is_what_to_change(found: str, roles: tuple[str, ...], said: str) -> None:
    assert said in advice(found, roles)
