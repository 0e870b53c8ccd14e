"""Responses of IAM, Access Analyzer and the simulator: pages, findings and decisions."""

from typing import Any

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Answer, Scene, page

ANALYZER = "accessanalyzer"
OWN_POLICY = "agent-extra"


def _attached(name: str, owner: str) -> dict[str, str]:
    return {"PolicyName": name, "PolicyArn": f"arn:aws:iam::{owner}:policy/{name}"}


@in_responses(
    "iam.attached-policies",
    wrong="AdministratorAccess is on the second page of a role's managed policies.",
)
def administrator_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    own = _attached(OWN_POLICY, scene.account)
    second = _attached("AdministratorAccess", "aws")
    return (
        Answer(
            service="iam",
            operation="list_attached_role_policies",
            arguments={"RoleName": scene.role("incident-response")},
            good=page(AttachedPolicies=[own], IsTruncated=False),
            bad=(
                {"AttachedPolicies": [own], "IsTruncated": True, "Marker": "AAIAAUKQ"},
                {"AttachedPolicies": [second], "IsTruncated": False},
            ),
        ),
    )


@in_responses(
    "iam.attached-policies",
    wrong="The first page of a role's managed policies is empty and has a marker of a second one.",
)
def empty_page_before_power_user(scene: Scene) -> tuple[Answer, ...]:
    return (
        Answer(
            service="iam",
            operation="list_attached_role_policies",
            arguments={"RoleName": scene.role("supervisor")},
            good=page(AttachedPolicies=[], IsTruncated=False),
            bad=(
                {"AttachedPolicies": [], "IsTruncated": True, "Marker": "AAIAAUKQ"},
                {
                    "AttachedPolicies": [_attached("PowerUserAccess", "aws")],
                    "IsTruncated": False,
                },
            ),
        ),
    )


def _decision(action: str, decision: str) -> dict[str, Any]:
    return {"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": decision}


@in_responses(
    "iam.simulate",
    wrong="The simulator says that a task role may create access keys.",
)
def simulation_allows_access_keys(scene: Scene) -> tuple[Answer, ...]:
    return (
        Answer(
            service="iam",
            operation="simulate_principal_policy",
            arguments={"PolicySourceArn": scene.arn("iam", f"role/{scene.role('threat-hunter')}")},
            good=page(
                EvaluationResults=[_decision("iam:CreateAccessKey", "implicitDeny")],
                IsTruncated=False,
            ),
            bad=page(
                EvaluationResults=[_decision("iam:CreateAccessKey", "allowed")], IsTruncated=False
            ),
        ),
    )


@in_responses(
    "iam.simulate",
    wrong="The simulator's second page allows what its first page does not mention.",
)
def simulation_allows_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    denied = [_decision("iam:CreateAccessKey", "explicitDeny")]
    return (
        Answer(
            service="iam",
            operation="simulate_principal_policy",
            arguments={"PolicySourceArn": scene.arn("iam", f"role/{scene.role('supervisor')}")},
            good=(
                {"EvaluationResults": denied, "IsTruncated": True, "Marker": "2"},
                {
                    "EvaluationResults": [_decision("s3:DeleteBucket", "implicitDeny")],
                    "IsTruncated": False,
                },
            ),
            bad=(
                {"EvaluationResults": denied, "IsTruncated": True, "Marker": "2"},
                {
                    "EvaluationResults": [_decision("s3:DeleteBucket", "allowed")],
                    "IsTruncated": False,
                },
            ),
        ),
    )


def _finding(kind: str, code: str) -> dict[str, Any]:
    position = {"line": 1, "column": 1, "offset": 0}
    return {
        "findingType": kind,
        "issueCode": code,
        "findingDetails": "Using the iam:PassRole action with wildcards can be overly permissive.",
        "learnMoreLink": "https://docs.aws.amazon.com/IAM/latest/UserGuide/",
        "locations": [
            {
                "path": [{"value": "Statement"}, {"index": 0}],
                "span": {"start": position, "end": position},
            }
        ],
    }


@in_responses(
    "iam.access-analyzer",
    wrong="ValidatePolicy has a security warning for a role's policy.",
)
def policy_with_security_warning(scene: Scene) -> tuple[Answer, ...]:
    del scene
    warning = _finding("SECURITY_WARNING", "PASS_ROLE_WITH_STAR_IN_RESOURCE")
    return (
        Answer(
            service=ANALYZER,
            operation="validate_policy",
            good=page(findings=[]),
            bad=page(findings=[warning]),
        ),
    )


@in_responses(
    "iam.access-analyzer",
    wrong="ValidatePolicy has a suggestion on its first page, and an error on the second.",
)
def policy_with_error_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    del scene
    first = {"findings": [_finding("SUGGESTION", "REDUNDANT_ACTION")], "nextToken": "2"}
    return (
        Answer(
            service=ANALYZER,
            operation="validate_policy",
            good=(first, {"findings": []}),
            bad=(first, {"findings": [_finding("ERROR", "INVALID_ACTION")]}),
        ),
    )


@in_responses(
    "iam.new-access",
    wrong="The policy of a role allows more than that of the last release.",
)
def new_access(scene: Scene) -> tuple[Answer, ...]:
    del scene
    return (
        Answer(
            service=ANALYZER,
            operation="check_no_new_access",
            good=page(result="PASS", message="The policy does not grant new access.", reasons=[]),
            bad=page(
                result="FAIL",
                message="The modified permissions grant new access.",
                reasons=[
                    {
                        "description": "New access in the statement with index: 1.",
                        "statementIndex": 1,
                    }
                ],
            ),
        ),
    )


@in_responses(
    wrong="Harmless: ValidatePolicy has suggestions and warnings only.",
)
def harmless_suggestion(scene: Scene) -> tuple[Answer, ...]:
    del scene
    found = [_finding("SUGGESTION", "REDUNDANT_ACTION"), _finding("WARNING", "MISSING_VERSION")]
    return (
        Answer(
            service=ANALYZER,
            operation="validate_policy",
            good=page(findings=[]),
            bad=page(findings=found),
        ),
    )
