"""What the gates make of their tools' reports."""

import json
from typing import Any

import pytest

from ci.errors import StageError
from ci.stages.quality import judge_audit
from ci.stages.running import NotExaminedError


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


GOOD = {"name": "good", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "odd", "skip_reason": "Dependency not found"}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}


def test_packages_that_were_all_audited_and_are_clean_pass() -> None:
    assert judge_audit(report(GOOD)) == "1 of 1 packages audited"


def test_a_vulnerable_package_fails_with_its_fix() -> None:
    with pytest.raises(StageError, match=r"bad 2\.0: PYSEC-1, fixed in 2\.1"):
        judge_audit(report(GOOD, BAD))


def test_a_vulnerability_without_a_fix_is_told_as_such() -> None:
    bad = BAD | {"vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
    with pytest.raises(StageError, match="PYSEC-2, fixed in no version yet"):
        judge_audit(report(bad))


def test_packages_that_nobody_audited_never_look_like_a_pass() -> None:
    with pytest.raises(NotExaminedError, match="only 1 of 2 packages audited") as error:
        judge_audit(report(GOOD, UNKNOWN))
    assert "[project.unexamined]" in error.value.hint
