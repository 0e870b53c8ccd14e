"""The parts of an environment's template that depend on lists of any length, written as JSON.

CloudFormation's own loop cannot make items of lists. What these parts are made from is kept in the
template's Metadata, so that a release can merge those of two states (`ci.infra.phases`).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Agents = Mapping[str, Mapping[str, str]]  # the mapping of the template, by key
#: The lines between which the resources are.
BEGIN, END = " #@resources\n", " #@end\n"
BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
#: Begins the lines of a template that have the facts, and the mapping of its agents.
METADATA, MAPPINGS = "\nMetadata: ", "\nMappings: "
HTTP, HTTPS = "http", "https"
LISTENERS = {HTTP: ("Listener", "Rule", 80), HTTPS: ("SecureListener", "SecureRule", 443)}
VERSION = "2012-10-17"
Resource = dict[str, Any]
Document = Mapping[str, Any]  # a policy document


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the generated parts are made from.

    `listeners` have rules for the agents; `secrets` are the ARNs that the execution role may read;
    `policies` are those of agents, by their key.
    """

    listeners: Sequence[str] = (HTTP,)
    cidrs: Sequence[str] = ("0.0.0.0/0",)
    secrets: Sequence[str] = ()
    policies: Mapping[str, Document] = field(default_factory=dict)
    subscriptions: Sequence[str] = ()


def with_facts(template: str, facts: Facts) -> str:
    """Return a template with the parts that these facts lead to, in place of its own."""
    if BEGIN not in template:
        return template  # of an earlier version
    mapped = json.loads(template.rpartition(MAPPINGS)[2])["Agents"]
    resources = dict([*_resources(facts), *_scaling(mapped)])
    lines = "".join(f" {name}: {json.dumps(item)}\n" for name, item in resources.items())
    body, _, agents = BLOCK.sub(lambda _: f"{BEGIN}{lines}{END}", template).rpartition(MAPPINGS)
    text = json.dumps({"Acso": asdict(facts)})
    return f"{body.partition(METADATA)[0]}{METADATA}{text}{MAPPINGS}{agents}"


def facts_of(template: str) -> Facts:
    """Return the facts that a template was made from; those of an earlier version's are fixed."""
    _, found, rest = template.partition(METADATA)
    if not found:
        return Facts()
    known: dict[str, Any] = json.loads(rest.partition("\n")[0])["Acso"]
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    return Facts(**fields)


def _resources(facts: Facts) -> Iterator[tuple[str, Resource]]:
    yield "LoadBalancerSecurity", _security_group(facts)
    for listener in facts.listeners:
        yield _rules(listener)
    if facts.secrets:
        yield "SecretsPolicy", _policy("read-secrets", "ExecutionRole", _reading(facts.secrets))
    for key, document in facts.policies.items():
        yield f"Permissions{key}", _policy("permissions", f"TaskRole{key}", document)
    for endpoint in facts.subscriptions:
        yield _subscription(endpoint)


def _security_group(facts: Facts) -> Resource:
    ports = [80, *(LISTENERS[name][2] for name in facts.listeners if name == HTTPS)]
    names = {80: "HTTP", 443: "HTTPS"}
    return {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {
            "GroupName": _sub("acso-${Environment}-load-balancer"),
            "GroupDescription": "The load balancer, open to HTTP.",
            "VpcId": {"Fn::If": ["OwnNetwork", {"Ref": "Vpc"}, {"Ref": "VpcId"}]},
            "SecurityGroupIngress": [
                {**_tcp(port, port), "CidrIp": cidr, "Description": names[port]}
                for port in ports
                for cidr in facts.cidrs
            ],
            "SecurityGroupEgress": [
                {
                    **_tcp({"Ref": "FirstPort"}, {"Ref": "LastPort"}),
                    "CidrIp": {"Fn::If": ["OwnNetwork", {"Ref": "VpcCidr"}, "0.0.0.0/0"]},
                    "Description": "tasks",
                }
            ],
        },
    }


def _tcp(first: object, last: object) -> Resource:
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last}


def _rules(listener: str) -> tuple[str, Resource]:
    """Return the loop over the rules of a listener: /{agent}/* to each agent."""
    name, rule, _ = LISTENERS[listener]
    mapped = {"Name": _mapped("Name")}
    properties = {
        "ListenerArn": {"Ref": name},
        "Priority": _mapped("Priority"),
        "Conditions": [
            {
                "Field": "path-pattern",
                "PathPatternConfig": {"Values": [{"Fn::Sub": ["/${Name}/*", mapped]}]},
            }
        ],
        "Actions": [
            {"Type": "forward", "TargetGroupArn": {"Ref": {"Fn::Sub": "TargetGroup${Agent}"}}}
        ],
    }
    resource: Resource = {
        "Type": "AWS::ElasticLoadBalancingV2::ListenerRule",
        "Properties": properties,
    }
    if listener == HTTPS:
        resource["Condition"] = "Encrypted"  # as its listener
    loop: Any = ["Agent", {"Ref": "Agents"}, {f"{rule}${{Agent}}": resource}]
    return f"Fn::ForEach::{rule}s", loop


def _mapped(name: str) -> Resource:
    return {"Fn::FindInMap": ["Agents", {"Ref": "Agent"}, name]}


def _policy(name: str, role: str, document: Document) -> Resource:
    return {
        "Type": "AWS::IAM::Policy",
        "Properties": {
            "PolicyName": name,
            "Roles": [{"Ref": role}],
            "PolicyDocument": document,
        },
    }


def _reading(secrets: Sequence[str]) -> Document:
    """Return the policy that allows to read these secrets and parameters, and to decrypt them.

    Those of a key of one's own need the environment's key; AWS's own keys need no permission.
    """
    kinds: Mapping[str, Sequence[str]] = {
        "secretsmanager:GetSecretValue": [arn for arn in secrets if ":secretsmanager:" in arn],
        "ssm:GetParameters": [arn for arn in secrets if ":ssm:" in arn],
    }
    statements: list[Document] = [
        {"Effect": "Allow", "Action": action, "Resource": arns}
        for action, arns in kinds.items()
        if arns
    ]
    services = [
        _sub(f"{name}.${{AWS::Region}}.${{AWS::URLSuffix}}") for name in ("secretsmanager", "ssm")
    ]
    decrypt: Document = {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": {"Fn::GetAtt": ["Key", "Arn"]},
        "Condition": {"StringEquals": {"kms:ViaService": services}},
    }
    return {"Version": VERSION, "Statement": [*statements, decrypt]}


def _scaling(mapped: Agents) -> Iterator[tuple[str, Resource]]:
    """Yield loops over the targets and policies of autoscaling; the embedded AWS has none."""
    scaled = [key for key, values in mapped.items() if "Min" in values]
    if not scaled:
        return
    name = {"Name": _mapped("Name")}
    target = {
        "ServiceNamespace": "ecs",
        "ScalableDimension": "ecs:service:DesiredCount",
        "ResourceId": {"Fn::Sub": ["service/${Cluster}/acso-${Environment}-${Name}", name]},
        "MinCapacity": _mapped("Min"),
        "MaxCapacity": _mapped("Max"),
    }
    yield _loop("Scaling", scaled, "ScalableTarget", target)
    group = {"Fn::GetAtt": [_sub("TargetGroup${Agent}"), "TargetGroupFullName"]}
    label = {"Fn::Sub": ["${LoadBalancer.LoadBalancerFullName}/${Group}", {"Group": group}]}
    metrics: Mapping[str, Resource] = {
        "Cpu": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        "Requests": {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label},
    }
    for aim, metric in metrics.items():
        if aimed := [key for key in scaled if aim in mapped[key]]:
            yield _loop(f"Scaling{aim}", aimed, "ScalingPolicy", _tracking(aim, metric))


def _loop(name: str, keys: Sequence[str], kind: str, properties: Resource) -> tuple[str, Resource]:
    resource = {
        "Type": f"AWS::ApplicationAutoScaling::{kind}",
        "Condition": "OnAws",
        "Properties": properties,
    }
    loop: Any = ["Agent", keys, {f"{name}${{Agent}}": resource}]
    return f"Fn::ForEach::{name}Loop", loop


def _tracking(aim: str, metric: Resource) -> Resource:
    return {
        "PolicyName": aim.lower(),
        "PolicyType": "TargetTrackingScaling",
        "ScalingTargetId": {"Ref": _sub("Scaling${Agent}")},
        "TargetTrackingScalingPolicyConfiguration": {
            "PredefinedMetricSpecification": metric,
            "TargetValue": _mapped(aim),
        },
    }


def _subscription(endpoint: str) -> tuple[str, Resource]:
    id_ = hashlib.sha256(endpoint.encode()).hexdigest()[:12]
    properties = {
        "TopicArn": {"Ref": "Alerts"},
        "Protocol": protocol(endpoint),
        "Endpoint": endpoint,
    }
    return f"Subscription{id_}", {"Type": "AWS::SNS::Subscription", "Properties": properties}


def protocol(endpoint: str) -> str:
    """Return SNS's name of the way to an endpoint."""
    if endpoint.startswith("arn:"):
        return endpoint.split(":")[2]
    return "https" if endpoint.startswith("https://") else "email"


def _sub(text: str) -> Resource:
    return {"Fn::Sub": text}
