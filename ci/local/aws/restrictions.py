"""What the embedded AWS refuses, so that nobody gets the rights of its process by it.

Its process uses the container engine, which is as good as root, and whoever reaches its port can
use it: other users of this machine, tasks, steps of a build. So task definitions may contain what
AWS Fargate accepts and nothing that reaches the host; services that run programs or containers of
their own (Lambda, CodeBuild, RDS, ...) are left out, as the pipeline uses none of them; and so are
the pages by which ministack is administrated. Always applied, even if `plain`.

Source of the rules: ECS Developer Guide, "Amazon ECS task definition differences for Fargate".
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ci.local.aws.patching import replace, replace_entry, require
from ci.local.aws.templates import camel_case_keys

#: The services that exist: what an environment, its agents and its notifications use.
SERVICES = (
    *("acm", "bedrock", "bedrock-runtime", "cloudformation", "dynamodb", "ec2", "ecr", "ecs"),
    *("ecs-metadata", "elasticloadbalancing", "iam", "kms", "logs", "monitoring", "route53", "s3"),
    *("secretsmanager", "sns", "sqs", "ssm", "sts", "tagging", "wafv2"),
)
#: CloudFormation's names of the services whose resources exist.
RESOURCES = (
    *("CertificateManager", "CloudFormation", "CloudWatch", "DynamoDB", "EC2", "ECR", "ECS"),
    *("ElasticLoadBalancingV2", "IAM", "KMS", "Logs", "Route53", "S3", "SNS", "SQS", "SSM"),
    *("SecretsManager", "WAFv2"),
)
#: Instances of EC2 would be containers.
EC2_ACTIONS = ("RegisterImage", "RunInstances")
EC2_RESOURCES = ("AWS::EC2::Instance", "AWS::EC2::SpotFleet", "AWS::EC2::EC2Fleet")
#: Paths of ministack's own pages.
ADMINISTRATION = ("/_ministack/", "/_localstack/", "/_aws/")
#: The capability that Fargate can add; all others are refused.
CAPABILITIES = ("SYS_PTRACE",)
#: Parameters of a task definition and of a container that Fargate does not have.
TASK_PARAMETERS = ("ipcMode", "placementConstraints", "inferenceAccelerators")
CONTAINER_PARAMETERS = (
    *("privileged", "disableNetworking", "dnsSearchDomains", "dnsServers"),
    *("dockerSecurityOptions", "extraHosts", "links"),
)
LINUX_PARAMETERS = ("devices", "maxSwap", "sharedMemorySize", "swappiness")

Definition = Mapping[str, Any]
Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def apply(ecs: Any, ec2: Any, provisioners: Any) -> None:
    """Refuse what reaches the host.

    Args:
        ecs: ministack's module.
        ec2: ministack's module.
        provisioners: ministack's module.
    """
    require(ecs, "error_response_json")
    replace(ecs, "_register_task_definition", partial(with_refusal, ecs))
    replace_entry(ecs._ACTION_MAP, "RegisterTaskDefinition", partial(with_refusal, ecs))
    replace(ecs, "_build_run_kwargs", with_guarded_start)
    for action in EC2_ACTIONS:
        replace_entry(ec2._ACTION_MAP, action, lambda _: None)  # as an unknown action
    handlers = provisioners._RESOURCE_HANDLERS
    for name in [name for name in handlers if not exists(name)]:
        handlers.pop(name)
    for action in ("create", "update"):
        replace_entry(handlers["AWS::ECS::TaskDefinition"], action, with_refused_resource)


def exists(resource: str) -> bool:
    """Return whether a type of CloudFormation's resources exists."""
    return resource.split("::")[1] in RESOURCES and resource not in EC2_RESOURCES


def refusal(definition: Definition) -> str:
    """Return why a task definition is refused, "" if it is accepted."""
    return next(_refusals(camel_case_keys(dict(definition))), "")


def _refusals(task: Definition) -> Iterator[str]:
    """Yield a message for each rule that is broken, in the words of ECS where they are known."""
    mode = task.get("networkMode") or "awsvpc"
    if mode == "host" or (mode != "awsvpc" and "FARGATE" in _list(task, "requiresCompatibilities")):
        yield "Fargate only supports network mode 'awsvpc'."
    if task.get("pidMode") not in (None, "", "task"):
        yield "Fargate only supports pidMode 'task'."
    yield from _unsupported(task, TASK_PARAMETERS)
    for volume in _list(task, "volumes"):
        if (volume.get("host") or {}).get("sourcePath"):
            yield "Fargate compatible task definitions do not support sourcePath"
        yield from _unsupported(volume, ("dockerVolumeConfiguration",))
    for container in _list(task, "containerDefinitions"):
        yield from _unsupported(container, CONTAINER_PARAMETERS)
        linux = container.get("linuxParameters") or {}
        yield from _unsupported(linux, LINUX_PARAMETERS)
        added = _list(linux.get("capabilities") or {}, "add")
        if others := [name for name in added if name not in CAPABILITIES]:
            yield f"Fargate compatible task definitions can add SYS_PTRACE only, not {others[0]}"


def _unsupported(item: Definition, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if item.get(name):
            yield f"Fargate compatible task definitions do not support {name}"


def _list(item: Definition, name: str) -> list[Any]:
    return list(item.get(name) or [])


def with_refusal(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Answer the registration of a refused task definition with ECS's error."""

    def register(data: dict[str, Any]) -> Any:
        if reason := refusal(data):
            return ecs.error_response_json("ClientException", reason, 400)
        return original(data)

    return register


def with_refused_resource(original: Callable[..., Any]) -> Callable[..., Any]:
    """Fail the creation of a resource whose task definition is refused."""

    def provision(*arguments: Any) -> Any:
        properties = next(item for item in reversed(arguments) if isinstance(item, dict))
        if reason := refusal(properties):
            raise ValueError(reason)
        return original(*arguments)

    return provision


def with_guarded_start(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Check a definition once more when a container starts; publish its ports on loopback only."""

    def build(cdef: dict[str, Any], td: dict[str, Any], *rest: Any) -> dict[str, Any]:
        if reason := refusal({**td, "containerDefinitions": [cdef]}):
            raise ValueError(reason)
        arguments = original(cdef, td, *rest)
        if ports := arguments.get("ports"):
            arguments["ports"] = {name: ("127.0.0.1", port or None) for name, port in ports.items()}
        return arguments

    return build


def without_administration(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return the application without ministack's own pages."""

    async def wrapped(scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan" or not scope["path"].startswith(ADMINISTRATION):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close"})

    return wrapped
