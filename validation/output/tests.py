"""A report as JUnit XML, which CI systems show as tests."""

import re
from typing import Any

from validation.model import Result, Status
from validation.report import Report

#: Characters that XML 1.0 cannot have, also not as references.
FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> str:
    """Return the report as JUnit XML.

    A failure is a failure; what could not be examined is an error, unless it is accepted: then,
    like a check that does not apply, it is skipped.
    """
    import junitparser

    suite = junitparser.TestSuite(f"{report.suite} {report.environment}")
    suite.timestamp = report.began.isoformat(timespec="seconds")
    for result in report.results:
        case = junitparser.TestCase(result.check.title, result.check.id, result.seconds)
        if (ending := _ending(result)) is not None:
            case.result = [ending]
        lines = [*map(str, result.finding.evidence), *result.finding.warnings]
        case.system_out = _clean("\n".join(lines))
        suite.add_testcase(case)
    document = junitparser.JUnitXml(report.suite)
    document.add_testsuite(suite)
    text: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return text.decode()


def _ending(result: Result) -> Any:  # junitparser's endings have no common type
    import junitparser

    found = result.finding
    if result.status is Status.PASS:
        return None
    if result.accepted or result.status is Status.SKIP:
        why = result.accepted.reason if result.accepted else found.observed
        return junitparser.Skipped(_clean(why))
    kind = junitparser.Failure if result.status is Status.FAIL else junitparser.Error
    ending = kind(_clean(found.observed), str(result.check.severity))
    ending.text = _clean(f"expected: {found.expected}\n{found.hint or result.check.remedy}")
    return ending


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
