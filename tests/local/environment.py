"""An environment in an emulator of its own, and images of a stand-in for the agents."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from ci import config as configuration
from ci import release
from ci.aws import elb
from ci.aws.session import Aws, Credentials

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("server.py").read_bytes()
BASE = "acso-devbase:bookworm"
#: What the agents' images have under this name, as far as a health check needs it.
HEALTHCHECK = b"""\
import os, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}/health", timeout=2)
"""
REQUEST = release.Request(commit="abc", branch="develop", actor="tests")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the environment's infrastructure is, made by hand."""

    cluster: str
    subnets: tuple[str, ...]
    security_group: str
    target_groups: dict[str, str]
    execution_role: str
    task_roles: dict[str, str]
    log_group: str
    url: str
    releases_table: str
    state_table: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A validation that says what it is told to."""

    ok: bool = True

    def summary(self) -> str:
        """Say it."""
        return "all is well" if self.ok else "the moon is in the wrong quarter"


@dataclass(frozen=True, kw_only=True)
class World:
    """A place to release in, images for it, and what a release said."""

    place: release.Place
    registry: str
    docker: Any
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    lines: list[str] = field(default_factory=list)
    _made: dict[str, str] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Keep a line of progress."""
        self.lines.append(line)
        print(line, flush=True)

    def image(self, agent: str, name: str) -> release.Image:
        """Return an agent's image of a behaviour, such as "good" or "crash", or "good-2"."""
        if name not in self._made:
            self._made[name] = self._make(name)
        repository = f"{self.registry}/{self.place.config.agent(agent).repository}"
        image = self.docker.images.get(self._made[name])
        image.tag(repository, tag=name)
        with contextlib.suppress(self.place.aws.client("ecr").exceptions.ClientError):
            self.place.aws.client("ecr").create_repository(
                repositoryName=repository.partition("/")[2]
            )
        pushed = self.docker.images.push(repository, tag=name, stream=True, decode=True)
        digest = next(item["aux"]["Digest"] for item in pushed if "aux" in item)
        self.docker.images.remove(f"{repository}:{name}", noprune=True)
        return release.Image(agent=agent, version=name, reference=f"{repository}@{digest}")

    def images(self, name: str = "good", **others: str) -> list[release.Image]:
        """Return an image for every agent; others by the agent's name with `_`."""
        return [
            self.image(agent.name, others.get(agent.package, name))
            for agent in self.place.config.agents
        ]

    async def deploy(self, images: list[release.Image], *, valid: bool = True) -> release.Outcome:
        """Deploy them."""
        return await release.deploy(self.place, images, REQUEST, validation(valid), self.say)

    async def rollback(self, to: str | None = None) -> release.Outcome:
        """Go back."""
        return await release.rollback(self.place, to, REQUEST, validation(True), self.say)

    async def versions(self) -> dict[str, str]:
        """Return what each agent answers through the load balancer."""
        found = {}
        for agent in self.place.config.agents:
            answer = await elb.get(self.place.url(agent.name) + "/health")
            found[agent.name] = str(answer.body.get("version", answer))
        return found

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the services that ECS has, by name."""
        ecs = self.place.aws.client("ecs")
        cluster = self.place.outputs.cluster
        names = ecs.list_services(cluster=cluster)["serviceArns"]
        if not names:
            return {}
        found = ecs.describe_services(cluster=cluster, services=names)["services"]
        return {item["serviceName"]: item for item in found}

    def clear(self) -> None:
        """Remove every service and all records."""
        ecs, cluster = self.place.aws.client("ecs"), self.place.outputs.cluster
        for name in self.services():
            ecs.delete_service(cluster=cluster, service=name, force=True)
        dynamodb, table = self.place.aws.client("dynamodb"), self.place.outputs.releases_table
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={key: item[key] for key in ("pk", "sk")})
        self.lines.clear()

    def _make(self, name: str) -> str:
        """Commit an image whose server behaves as the name's first word says."""
        container = self.docker.containers.create(BASE, "true", labels={"acso.test": self.run_id})
        try:
            container.put_archive("/", _archive())
            config = {
                "Cmd": ["python3", "/app/server.py"],
                "Env": [f"MODE={name.partition('-')[0]}", f"NAME={name}"],
                "WorkingDir": "/app",
                "Labels": {"acso.test": self.run_id},
            }
            tag = f"acso-test-{self.run_id}:{name}"
            container.commit(*tag.split(":"), conf=config)
            return tag
        finally:
            container.remove()

    def remove_images(self) -> None:
        """Remove the images that were made, and what was pulled of them."""
        filters = {"label": f"acso.test={self.run_id}"}
        for image in self.docker.images.list(all=True, filters=filters):
            with contextlib.suppress(docker.errors.APIError):
                self.docker.images.remove(image.id, force=True)


def validation(ok: bool) -> release.Validate:
    """Return a validation that says yes or no."""

    async def validate() -> Checked:
        return Checked(ok=ok)

    return validate


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Start an emulator with an environment's infrastructure; all of it is gone at the end."""
    process, port = start_emulator()
    try:
        yield from _world(port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _world(port: int) -> Iterator[World]:
    keys = Credentials(access_key_id="test", secret_access_key="test")
    aws = Aws(region="us-east-1", endpoint=f"http://127.0.0.1:{port}", credentials=keys)
    config = configuration.load(ROOT / configuration.FILE)
    env = config.environment("development")
    outputs = infrastructure(aws, config, env, port)
    place = release.Place(aws=aws, config=config, env=env, outputs=outputs)
    made = World(place=place, registry=f"localhost:{port}", docker=docker.from_env())
    try:
        yield made
    finally:
        made.clear()
        made.remove_images()
        made.docker.close()


def start_emulator() -> tuple[subprocess.Popen[bytes], int]:
    """Start an emulator on a free port of this machine alone; returns when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environ = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, port
        time.sleep(0.05)  # between looks at the port
    process.kill()
    raise TimeoutError("the emulator does not answer")


def infrastructure(
    aws: Aws, config: configuration.Config, env: configuration.Environment, port: int
) -> Outputs:
    """Make what CloudFormation makes, as far as services need it."""
    ecs, elbv2, ec2 = aws.client("ecs"), aws.client("elbv2"), aws.client("ec2")
    ecs.create_cluster(clusterName=env.cluster)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = tuple(
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
        for n in (1, 2)
    )
    group = ec2.create_security_group(GroupName="t", Description="t", VpcId=vpc)["GroupId"]
    name = f"{env.prefix}-alb"
    balancer = elbv2.create_load_balancer(Name=name, Subnets=list(subnets))["LoadBalancers"][0]
    listener = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )["Listeners"][0]["ListenerArn"]
    groups = {}
    for number, agent in enumerate(config.agents, 1):
        arn = elbv2.create_target_group(
            Name=env.service(agent)[:32],
            Protocol="HTTP",
            Port=agent.port,
            VpcId=vpc,
            TargetType="ip",
            HealthCheckPath=agent.health_path,
            HealthCheckIntervalSeconds=5,
        )["TargetGroups"][0]["TargetGroupArn"]
        elbv2.create_rule(
            ListenerArn=listener,
            Priority=number,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{agent.name}/*"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
        groups[agent.name] = arn
    table = f"{env.prefix}-releases"
    aws.client("dynamodb").create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in ("pk", "sk")],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )
    aws.client("logs").create_log_group(logGroupName=env.log_group)
    role = f"arn:aws:iam::000000000000:role/{env.prefix}"
    return Outputs(
        cluster=env.cluster,
        subnets=subnets,
        security_group=group,
        target_groups=groups,
        execution_role=f"{role}-execution",
        task_roles={agent.name: f"{role}-{agent.name}" for agent in config.agents},
        log_group=env.log_group,
        url=f"http://127.0.0.1:{port}/_alb/{name}",
        releases_table=table,
        state_table=f"{env.prefix}-state",
    )


def _archive() -> bytes:
    """Return the files of the image: the server, a health check, and `python`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        files = {
            "app/server.py": SERVER,
            "app/agents/__init__.py": b"",
            "app/agents/healthcheck.py": HEALTHCHECK,
        }
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(content), 0o644
            archive.addfile(item, io.BytesIO(content))
        link = tarfile.TarInfo("usr/local/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
        archive.addfile(link)
    return buffer.getvalue()
