"""Responses about listeners, certificates, endpoints, gateways, targets and interfaces."""

from datetime import datetime
from typing import Any

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Answer, Refusal, Scene, page

CURRENT, OLD = "ELBSecurityPolicy-TLS13-1-2-2021-06", "ELBSecurityPolicy-2016-08"
REDIRECT = {
    "Type": "redirect",
    "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
}


def _listener(scene: Scene, port: int, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    balancer = scene.load_balancer.partition("loadbalancer/")[2]
    return {
        "ListenerArn": scene.arn("elasticloadbalancing", f"listener/{balancer}/{port:016x}"),
        "LoadBalancerArn": scene.load_balancer,
        "Port": port,
        "Protocol": "HTTPS" if port == 443 else "HTTP",
        "DefaultActions": [action],
        **more,
    }


def _secure(scene: Scene, policy: str = CURRENT) -> dict[str, Any]:
    certificate = [{"CertificateArn": scene.certificate}]
    action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    return _listener(scene, 443, action, SslPolicy=policy, Certificates=certificate)


def _listeners(scene: Scene, *bad: dict[str, Any]) -> tuple[Answer, ...]:
    return (
        Answer(
            service="elbv2",
            operation="describe_listeners",
            good=page(Listeners=[_listener(scene, 80, REDIRECT), _secure(scene)]),
            bad=page(Listeners=list(bad)),
        ),
    )


@in_responses("network.tls", wrong="The listener accepts TLS 1.0: its policy is that of 2016.")
def old_tls_policy(scene: Scene) -> tuple[Answer, ...]:
    return _listeners(scene, _listener(scene, 80, REDIRECT), _secure(scene, OLD))


@in_responses("network.tls", wrong="The HTTP listener forwards requests; it does not redirect.")
def plain_http_served(scene: Scene) -> tuple[Answer, ...]:
    group = scene.target_group(scene.agents[0])
    forward = {"Type": "forward", "TargetGroupArn": group}
    return _listeners(scene, _listener(scene, 80, forward), _secure(scene))


@in_responses("network.tls", wrong="There is no HTTPS listener; HTTP redirects to nobody.")
def no_https_listener(scene: Scene) -> tuple[Answer, ...]:
    return _listeners(scene, _listener(scene, 80, REDIRECT))


def _certificate(scene: Scene, bad: dict[str, Any]) -> tuple[Answer, ...]:
    def described(status: str, end: datetime | None, **more: Any) -> dict[str, Any]:
        certificate: dict[str, Any] = {
            "CertificateArn": scene.certificate,
            "DomainName": "acso.example.com",
            "Status": status,
            "Type": "AMAZON_ISSUED",
            "RenewalEligibility": "ELIGIBLE",
            "InUseBy": [scene.load_balancer],
        }
        return {"Certificate": certificate | ({"NotAfter": end} if end else {}) | more}

    return (
        Answer(
            service="acm",
            operation="describe_certificate",
            arguments={"CertificateArn": scene.certificate},
            good=(described("ISSUED", scene.before(days=-200)),),
            bad=(described(**bad),),
        ),
    )


@in_responses("network.certificate", wrong="The certificate expires in 20 days.")
def certificate_expires_soon(scene: Scene) -> tuple[Answer, ...]:
    return _certificate(scene, {"status": "ISSUED", "end": scene.before(days=-20)})


@in_responses(
    "network.certificate", wrong="The certificate expired yesterday, and is still in use."
)
def certificate_expired(scene: Scene) -> tuple[Answer, ...]:
    return _certificate(scene, {"status": "EXPIRED", "end": scene.before(days=1)})


@in_responses("network.certificate", wrong="The certificate waits for its validation by DNS.")
def certificate_not_issued(scene: Scene) -> tuple[Answer, ...]:
    return _certificate(scene, {"status": "PENDING_VALIDATION", "end": None})


@in_responses("network.certificate", wrong="The listener's certificate was deleted.")
def certificate_deleted(scene: Scene) -> tuple[Answer, ...]:
    (good,) = _certificate(scene, {"status": "ISSUED", "end": None})
    message = f"Could not find certificate {scene.certificate}."
    missing = Refusal(code="ResourceNotFoundException", message=message)
    return (
        Answer(
            service=good.service,
            operation=good.operation,
            arguments=good.arguments,
            good=good.good,
            bad=missing,
        ),
    )


@in_responses(
    wrong="Harmless: the certificate expires in 45 days, and AWS renews it by itself.",
)
def harmless_certificate_of_45_days(scene: Scene) -> tuple[Answer, ...]:
    return _certificate(scene, {"status": "ISSUED", "end": scene.before(days=-45)})


def _endpoint(scene: Scene, name: str, state: str = "available") -> dict[str, Any]:
    return {
        "VpcEndpointId": f"vpce-0{name.replace('.', '')}",
        "VpcEndpointType": "Gateway" if name in ("s3", "dynamodb") else "Interface",
        "VpcId": scene.vpc,
        "ServiceName": f"com.amazonaws.{scene.region}.{name}",
        "State": state,
        "PrivateDnsEnabled": name not in ("s3", "dynamodb"),
    }


INTERFACES = ("ecr.api", "ecr.dkr", "logs", "monitoring", "bedrock-runtime", "secretsmanager")
ENDPOINTS = ("s3", "dynamodb", *INTERFACES, "ssm", "ssmmessages")


def _endpoints(scene: Scene, bad: list[dict[str, Any]]) -> tuple[Answer, ...]:
    return (
        Answer(
            service="ec2",
            operation="describe_vpc_endpoints",
            good=page(VpcEndpoints=[_endpoint(scene, name) for name in ENDPOINTS]),
            bad=page(VpcEndpoints=bad),
        ),
    )


@in_responses("network.endpoints", wrong="The endpoint of Secrets Manager was deleted.")
def endpoint_missing(scene: Scene) -> tuple[Answer, ...]:
    left = [name for name in ENDPOINTS if name != "secretsmanager"]
    return _endpoints(scene, [_endpoint(scene, name) for name in left])


@in_responses("network.endpoints", wrong="The endpoint of Bedrock exists and has failed.")
def endpoint_failed(scene: Scene) -> tuple[Answer, ...]:
    state = {"bedrock-runtime": "failed"}
    return _endpoints(scene, [_endpoint(scene, n, state.get(n, "available")) for n in ENDPOINTS])


@in_responses("network.endpoints", wrong="The NAT gateway of the environment was deleted.")
def nat_gateway_deleted(scene: Scene) -> tuple[Answer, ...]:
    def gateway(state: str) -> dict[str, Any]:
        return {
            "NatGatewayId": "nat-0123456789abcdef0",
            "VpcId": scene.vpc,
            "SubnetId": "subnet-0ccc",
            "State": state,
        }

    return (
        Answer(
            service="ec2",
            operation="describe_nat_gateways",
            good=page(NatGateways=[gateway("available")]),
            bad=page(NatGateways=[gateway("deleted")]),
        ),
    )


def _health(*states: str) -> tuple[dict[str, Any], ...]:
    reasons = {
        "unhealthy": {"Reason": "Target.Timeout", "Description": "Request timed out"},
        "unused": {"Reason": "Target.NotInUse"},
        "draining": {"Reason": "Target.DeregistrationInProgress"},
    }
    targets = [
        {
            "Target": {"Id": f"10.0.1.{number + 10}", "Port": 8000},
            "HealthCheckPort": "8000",
            "TargetHealth": {"State": state, **reasons.get(state, {})},
        }
        for number, state in enumerate(states)
    ]
    return ({"TargetHealthDescriptions": targets},)


def _targets(scene: Scene, agent: str, *states: str) -> tuple[Answer, ...]:
    return (
        Answer(
            service="elbv2",
            operation="describe_target_health",
            arguments={"TargetGroupArn": scene.target_group(agent)},
            good=_health("healthy", "healthy"),
            bad=_health(*states),
        ),
    )


@in_responses("network.targets", wrong="One of two targets of the fourth agent is unhealthy.")
def one_of_two_targets_unhealthy(scene: Scene) -> tuple[Answer, ...]:
    return _targets(scene, scene.agents[3], "healthy", "unhealthy")


@in_responses("network.targets", wrong="An agent's target group has no target: none is unhealthy.")
def no_targets(scene: Scene) -> tuple[Answer, ...]:
    return _targets(scene, scene.agents[1])


@in_responses("network.targets", wrong="An agent's target group is used by no listener.")
def targets_unused(scene: Scene) -> tuple[Answer, ...]:
    return _targets(scene, scene.agents[4], "unused", "unused")


@in_responses(
    wrong="Harmless: beside its two healthy targets, a group has one of a task that was replaced.",
)
def harmless_draining_target(scene: Scene) -> tuple[Answer, ...]:
    return _targets(scene, scene.agents[0], "healthy", "healthy", "draining")


@in_responses("network.private-subnets", wrong="A task's network interface has a public address.")
def public_address_of_a_task(scene: Scene) -> tuple[Answer, ...]:
    def interface(**more: Any) -> dict[str, Any]:
        return {
            "NetworkInterfaceId": "eni-0123456789abcdef0",
            "VpcId": scene.vpc,
            "SubnetId": "subnet-0aaa",
            "PrivateIpAddress": "10.0.1.10",
            "InterfaceType": "interface",
            "Description": scene.arn("ecs", f"attachment/{'1' * 32}"),
            **more,
        }

    public = {"Association": {"PublicIp": "203.0.113.7", "IpOwnerId": "amazon"}}
    return (
        Answer(
            service="ec2",
            operation="describe_network_interfaces",
            good=page(NetworkInterfaces=[interface()]),
            bad=page(NetworkInterfaces=[interface(**public)]),
        ),
    )


@in_responses(
    "network.open-ports",
    wrong="An open group is on the second page of the security groups.",
)
def open_group_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    def group(number: int, ranges: list[dict[str, str]]) -> dict[str, Any]:
        rule = {"IpProtocol": "tcp", "FromPort": 3389, "ToPort": 3389, "IpRanges": ranges}
        return {
            "GroupId": f"sg-{number:017x}",
            "GroupName": f"{scene.prefix}-extra-{number}",
            "Description": "extra",
            "OwnerId": scene.account,
            "VpcId": scene.vpc,
            "IpPermissions": [rule],
        }

    world, inside = [{"CidrIp": "0.0.0.0/0"}], [{"CidrIp": "10.0.0.0/16"}]
    first = {"SecurityGroups": [group(1, inside)], "NextToken": "2"}
    return (
        Answer(
            service="ec2",
            operation="describe_security_groups",
            good=(first, {"SecurityGroups": [group(2, inside)]}),
            bad=(first, {"SecurityGroups": [group(2, world)]}),
        ),
    )
