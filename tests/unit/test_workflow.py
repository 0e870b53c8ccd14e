"""The workflow of the pipeline: one step, pinned, with no more permissions than it needs."""

import json

from tests.unit.github.workflow import ROOT, workflow


def test_one_job_has_one_pipeline_step_pinned_by_commit() -> None:
    (job,) = workflow()["jobs"].values()
    checkout, pipeline = job["steps"]
    assert checkout["with"] == {"persist-credentials": False}
    name, _, commit = pipeline["uses"].partition("@")
    assert name == "dagger/dagger-for-github"
    assert len(commit) == 40


def test_it_asks_for_no_more_than_it_needs() -> None:
    assert workflow()["permissions"] == {}
    (job,) = workflow()["jobs"].values()
    assert job["permissions"] == {"contents": "read", "id-token": "write"}


def test_the_engine_is_the_one_that_dagger_json_names() -> None:
    (job,) = workflow()["jobs"].values()
    version = json.loads((ROOT / "dagger.json").read_text())["engineVersion"]
    assert "v" + job["steps"][1]["with"]["version"] == version


def test_every_environment_of_acso_toml_is_reached_by_an_event_it_listens_to() -> None:
    from ci.config import load

    events = workflow()["on"]
    for environment in load(ROOT / "acso.toml").environments.values():
        if environment.branch:
            assert environment.branch in events["push"]["branches"]
        if environment.event:
            assert environment.event in events


def test_a_pre_release_reaches_no_environment() -> None:
    # Of `published` and `released`, GitHub sends both for a release, the first for a pre-release.
    assert workflow()["on"]["release"] == {"types": ["released"]}
