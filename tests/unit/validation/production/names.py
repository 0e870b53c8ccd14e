"""Names of a production environment, and its configuration."""

import datetime
from dataclasses import replace
from typing import Any

from ci.config import Config, Scaling, Size, load
from tests.unit.infra.parsing import ROOT
from tests.unit.validation.production.wire import Answer

REGION, NUMBER = "us-east-1", "123456789012"
PREFIX = "acso-production"
ARN = f"arn:aws:{{}}:{REGION}:{NUMBER}:{{}}"
KEY = ARN.format("kms", "key/1")
TOPIC = ARN.format("sns", f"{PREFIX}-alerts")
BALANCER = ARN.format("elasticloadbalancing", f"loadbalancer/app/{PREFIX}-alb/1")
CERTIFICATE = ARN.format("acm", "certificate/1")
BUCKET, GROUP, VPC = f"{PREFIX}-accesslogbucket-1", "/aws/acso/production/agents", "vpc-1"
PEOPLE = ARN.format("secretsmanager", "secret:PeopleToken-1")
TABLES = tuple(f"{PREFIX}-{name}" for name in ("agents", "releases"))
SUBNETS = ("subnet-1", "subnet-2")
ROLES = f"arn:aws:iam::{NUMBER}:role/"
EXECUTION, DEPLOY = f"{PREFIX}-execution-role", f"{PREFIX}-deploy"
ISSUER = "token.actions.githubusercontent.com"
DIGEST = "sha256:" + "1" * 64
SUPERVISOR = f"{PREFIX}-supervisor"


def config() -> Config:
    """Return a configuration in which every check of the suite applies to production."""
    known = load(ROOT / "tests" / "acso.toml")
    env = known.environment("production")
    scaled = Size(scaling=Scaling(min=2, max=4, cpu=60))
    env = replace(
        env,
        account=NUMBER,
        domain="acso.example.com",
        hosted_zone="Z1",
        subscriptions=("team@example.com",),
        load_balancer=replace(env.load_balancer, access_logs=True),
        agents={"supervisor": scaled},
    )
    return replace(known, environments={**known.environments, "production": env})


CONFIG = config()
AGENTS = [agent.name for agent in CONFIG.agents]


def now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.UTC)


def group_of(agent: str) -> str:
    """Return the ARN of an agent's target group."""
    return ARN.format("elasticloadbalancing", f"targetgroup/{agent}/1")


def revision(agent: str, number: int = 2) -> str:
    """Return the ARN of a revision of an agent."""
    return ARN.format("ecs", f"task-definition/{PREFIX}-{agent}:{number}")


def statement(actions: str | list[str], resource: str, **more: Any) -> Answer:
    """Return a statement that allows actions."""
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def policy(*statements: Answer) -> Answer:
    """Return a policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


#: The template's alarms: the namespace and name of the metric of each.
METRICS = {
    "cpu": ("AWS/ECS", "CPUUtilization", 80.0),
    "memory": ("AWS/ECS", "MemoryUtilization", 80.0),
    "errors": ("AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", 5.0),
    "latency": ("AWS/ApplicationELB", "TargetResponseTime", 3.0),
    "unhealthy": ("AWS/ApplicationELB", "UnHealthyHostCount", 0.0),
}
