"""A report in every form says the same, and is what readers of that form expect."""

import json
from dataclasses import replace
from pathlib import Path

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sarif_pydantic import Sarif

from ci.config import Accepted
from tests.unit.validation.conftest import report
from validation import Report, Status
from validation.output import FORMATS, write

SCHEMA = Path(__file__).parents[3] / "docs" / "validation-results.schema.json"
ACCEPTED = Accepted(accepts="FAIL", owner="me", reason="known & old", expires="2099-01-01")
EVERY = report(*Status)


def accepted() -> Report:
    (result,) = report(Status.FAIL).results
    return replace(EVERY, results=(*EVERY.results, replace(result, accepted=ACCEPTED)))


def shown(text: str) -> Report:
    results = tuple(
        replace(result, finding=replace(result.finding, observed=text, warnings=(text,)))
        for result in EVERY.results
    )
    return replace(EVERY, results=results)


def test_json_is_as_its_schema_says() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    data = json.loads(FORMATS["results.json"](accepted()))
    validator.validate(data)
    assert data["verdict"] == "failed"
    assert data["counts"] == {"PASS": 1, "FAIL": 2, "SKIP": 1, "NOT_EXAMINED": 1}
    assert [item["blocks"] for item in data["results"]] == [False, True, False, True, False]


def test_junit_tells_failures_errors_and_skips_apart() -> None:
    (suite,) = junitparser.JUnitXml.fromstring(FORMATS["junit.xml"](accepted()).encode())
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 1, 1, 2)
    kinds = [case.result[0].message for case in suite if case.result]
    assert kinds == ["this", "this", "this", "known & old"]


def test_sarif_is_read_by_others_and_suppresses_what_is_accepted() -> None:
    text = FORMATS["results.sarif"](accepted())
    (run,) = Sarif.model_validate_json(text).runs
    assert run.results
    assert [result.kind for result in run.results] == [
        "pass",
        "fail",
        "notApplicable",
        "open",
        "fail",
    ]
    suppressed = ["suppressions" in result for result in json.loads(text)["runs"][0]["results"]]
    assert suppressed == [False] * 4 + [True]
    assert {result.rule_id for result in run.results} == {"test.a"}


def test_ocsf_has_a_compliance_finding_for_each_check_with_controls() -> None:
    found = json.loads(FORMATS["findings.ocsf.json"](EVERY))
    assert [item["compliance"]["status"] for item in found] == [
        "Pass",
        "Fail",
        "SKIP",
        "NOT_EXAMINED",
    ]
    assert {item["class_uid"] for item in found} == {2003}
    assert found[0]["compliance"]["standards"] == ["FSBP"]


def test_the_page_needs_nothing_from_the_network_and_shows_what_blocks_first() -> None:
    page = FORMATS["index.html"](accepted())
    for loaded in ("http:", "https:", "<script", "<link", "src="):
        assert loaded not in page
    assert page.index("FAIL</span>") < page.index("NOT EXAMINED</span>") < page.index("PASS</span>")
    assert "known &amp; old" in page


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_any_text_is_shown_and_never_markup(text: str) -> None:
    told = shown(f"<b>{text}</b>")
    assert "<b>" not in FORMATS["index.html"](told)
    assert json.loads(FORMATS["results.sarif"](told))["runs"][0]["results"]
    assert len(json.loads(FORMATS["findings.ocsf.json"](told))) == len(told.results)
    (suite,) = junitparser.JUnitXml.fromstring(FORMATS["junit.xml"](told).encode())
    assert suite.tests == len(told.results)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made" / "results.json"
    write(path, "one")
    write(path, "two")
    assert path.read_text() == "two"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(path, "three")
    assert path.read_text() == "two"
