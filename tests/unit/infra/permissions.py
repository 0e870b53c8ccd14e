"""The actions of the deploy role, each with what needs it: the table in docs/permissions.md.

`python -m tests.unit.infra.permissions docs/permissions.md` writes it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ci.config import load
from ci.infra import templates
from tests.unit.infra.parsing import ROOT, actions, parsed

PREFIXES = {"accessanalyzer": "access-analyzer", "elbv2": "elasticloadbalancing"}
#: boto3's operations do not tell where an action has capitals in a row.
SPELLED = {
    "iam:ListOpenIdConnectProviders": "iam:ListOpenIDConnectProviders",
    # S3's actions have other names than its operations.
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
}
PUSH = "the engine pushes images (`ci.stages.publish`)"
KEY = "the releases table and the topic are encrypted with the environment's key"
#: Actions that no call of ours names, and what needs them.
OTHERS = {
    "ecr:BatchCheckLayerAvailability": PUSH,
    "ecr:CompleteLayerUpload": PUSH,
    "ecr:InitiateLayerUpload": PUSH,
    "ecr:UploadLayerPart": PUSH,
    "ec2:DescribeAvailabilityZones": "CloudFormation, when it computes changes (`Fn::GetAZs`)",
    "ecs:TagResource": "services and revisions are created with tags",
    "iam:PassRole": "ECS starts tasks with their roles",
    "kms:Decrypt": KEY,
    "kms:DescribeKey": KEY,
    "kms:Encrypt": KEY,
    "kms:GenerateDataKey*": KEY,
    "kms:ReEncrypt*": KEY,
}
HEAD = """\
# Permissions of the deploy role

What `acso-{environment}-deploy` may do, and what needs it: functions, or the part of AWS that acts
with the role. Written by `python -m tests.unit.infra.permissions docs/permissions.md`; a test
compares it with the template and the code. Resources and conditions are in
[environment.yaml](../ci/infra/environment.yaml). Applying templates, deleting stacks and changing
their protection need an administrator.

| action | needed by |
|---|---|
"""


def called() -> dict[str, set[str]]:
    """Return the functions that call each action of AWS, by the action."""
    found: dict[str, set[str]] = {}
    for folder in ("ci/aws", "validation"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, action in _calls(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(action, set()).add(f"{module}.{name}")
    return found


def granted() -> set[str]:
    """Return the actions that the template allows the deploy role."""
    agents = load(ROOT / "tests" / "acso.toml").agents
    resources = parsed(templates.environment(agents))["Resources"]
    return actions(resources["DeployRole"]["Properties"])


def table() -> str:
    """Return the document."""
    known = called()
    rows = []
    for action in sorted(granted()):
        functions = ", ".join(f"`{name}`" for name in sorted(known.get(action, ())))
        rows.append(f"| `{action}` | {'; '.join(filter(None, (functions, OTHERS.get(action))))} |")
    return HEAD + "\n".join(rows) + "\n"


def _calls(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the functions of a module with the actions that their calls of AWS need."""
    for outer in tree.body:
        for node in ast.walk(outer):
            action = _action(node)
            if action and isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield outer.name, action


def _action(node: Any) -> str:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return ""
    texts = [item.value for item in node.args[:2] if isinstance(item, ast.Constant)]
    if node.func.attr not in ("call", "pages") or len(texts) != 2:
        return ""
    service, operation = map(str, texts)
    name = "".join(word.capitalize() for word in operation.split("_"))
    action = f"{PREFIXES.get(service, service)}:{name}"
    return SPELLED.get(action, action)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table(), encoding="utf-8")
