"""A report for security tools: SARIF 2.1.0 and OCSF's compliance findings.

Sources: OASIS SARIF 2.1.0 (fields, `level`, `kind`); OCSF 1.3.0, class Compliance Finding [2003].
"""

import json
from typing import Any

from validation.model import Result, Severity, Status
from validation.report import Report, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
}
#: What GitHub sorts security results by: a CVSS score.
SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.0",
    Severity.LOW: "2.0",
}
KINDS = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.SKIP: "notApplicable",
    Status.NOT_EXAMINED: "open",
}
OCSF_SEVERITIES = {Severity.LOW: 2, Severity.MEDIUM: 3, Severity.HIGH: 4, Severity.CRITICAL: 5}
OCSF_STATUSES = {Status.PASS: (1, "Pass"), Status.FAIL: (3, "Fail")}


def sarif(report: Report) -> str:
    """Return the report as SARIF; checks are rules, and acso.toml is where a result is shown.

    A result that is accepted has a suppression with its reason.
    """
    checks = {result.check.id: result.check for result in report.results}
    run = {
        "tool": {
            "driver": {
                "name": "acso validation",
                "rules": [
                    {
                        "id": check.id,
                        "shortDescription": {"text": check.title},
                        "fullDescription": {"text": check.why},
                        "help": {"text": check.remedy},
                        "defaultConfiguration": {"level": LEVELS[check.severity]},
                        "properties": {
                            "tags": ["security", *check.controls],
                            "security-severity": SCORES[check.severity],
                        },
                    }
                    for check in checks.values()
                ],
            }
        },
        "automationDetails": {"id": f"{report.suite}/{report.environment}"},
        "invocations": [{"executionSuccessful": report.verdict is not Verdict.UNDECIDED}],
        "results": [_result(report, result) for result in report.results],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(report: Report, result: Result) -> dict[str, Any]:
    failed = result.status is Status.FAIL
    place = {"artifactLocation": {"uri": "acso.toml"}, "region": {"startLine": 1}}
    found: dict[str, Any] = {
        "ruleId": result.check.id,
        "kind": KINDS[result.status],
        "level": LEVELS[result.check.severity] if failed else "none",
        "message": {"text": f"{report.environment}: {result.finding.observed or 'no text'}"},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"check": f"{result.check.id}/{report.environment}"},
    }
    if result.accepted:
        found["suppressions"] = [{"kind": "external", "justification": result.accepted.reason}]
    return found


def ocsf(report: Report) -> str:
    """Return the checks with control ids as a JSON list of OCSF compliance findings."""
    found = [_compliance(report, result) for result in report.results if result.check.controls]
    return json.dumps(found, indent=2) + "\n"


def _compliance(report: Report, result: Result) -> dict[str, Any]:
    check, finding = result.check, result.finding
    status_id, status = OCSF_STATUSES.get(result.status, (99, str(result.status)))
    return {
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2003,
        "class_name": "Compliance Finding",
        "activity_id": 1,
        "type_uid": 200301,
        "time": int(report.began.timestamp() * 1000),
        "severity_id": OCSF_SEVERITIES[check.severity],
        "status_id": 3 if result.accepted else 1,  # suppressed, or new
        "message": finding.observed,
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "acso validation", "vendor_name": "ACSO"},
        },
        "finding_info": {
            "uid": f"{report.environment}/{check.id}",
            "title": check.title,
            "desc": check.why,
            "created_time": int(report.began.timestamp() * 1000),
        },
        "compliance": {
            "requirements": list(check.controls),
            "standards": sorted({control.partition(" ")[0] for control in check.controls}),
            "status": status,
            "status_id": status_id,
            "status_detail": finding.expected,
        },
        "remediation": {"desc": check.remedy},
        "resources": [{"type": "environment", "name": report.environment}],
    }
