"""Helpers for tests of the embedded AWS: task definitions, services, load."""

import io
import itertools
import tarfile
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from ci.config import machine
from ci.local import paths
from ci.local.container_engine import Docker
from ci.local.embedded_aws import Emulator
from ci.local.wait import blocking

APP = (Path(__file__).parent / "app.py").read_text()
CLUSTER = "tests"
CRASH = ["sh", "-c", "exit 3"]
BREAKER = {"enable": True, "rollback": True}
_numbers = itertools.count(1)


def leftovers(docker: Docker) -> list[str]:
    """Return the names of the containers, networks and volumes of the current instance."""
    client: Any = docker.client
    instance = {"label": f"{paths.INSTANCE_LABEL}={machine.instance()}"}
    containers = client.containers.list(all=True, filters=instance, ignore_removed=True)
    others = [*client.networks.list(filters=instance), *client.volumes.list(filters=instance)]
    return [str(item.name) for item in [*containers, *others]]


def eventually(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until the condition holds; fail if it does not within the time."""
    assert blocking(lambda: bool(condition()), seconds=seconds), (
        f"the condition did not hold within {seconds} s"
    )


@dataclass(frozen=True, kw_only=True)
class Aws:
    """An embedded AWS, and an image with Python, named as if from its registry."""

    emulator: Emulator
    docker: Docker
    image: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.emulator.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def definition(self, environ: dict[str, str] | None = None, **more: Any) -> str:
        """Register a task definition of the test program; return its ARN."""
        container = {
            "name": "app",
            "image": self.image,
            "entryPoint": ["python", "-c"],
            "command": [APP],
            "portMappings": [{"containerPort": 8000}],
            "environment": [{"name": k, "value": v} for k, v in (environ or {}).items()],
        }
        answer = self.client("ecs").register_task_definition(
            family="tests",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="256",
            containerDefinitions=[container | more],
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def crashing(self) -> str:
        """Register a task definition whose container exits at once, and faster than Python starts.

        A task that runs for a second counts as healthy (`ci.local.aws.task_health`).
        """
        return self.definition(entryPoint=CRASH[:2], command=CRASH[2:])

    def run(self, definition: str) -> str:
        """Run one task; return its ARN."""
        ecs = self.client("ecs")
        ecs.create_cluster(clusterName=CLUSTER)
        answer = ecs.run_task(cluster=CLUSTER, taskDefinition=definition)
        return str(answer["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        tasks = self.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
        found: dict[str, Any] = tasks[0]
        return found

    def container(self, task: str) -> Any:
        """Return the Docker container of a running task."""
        eventually(lambda: self.task(task)["lastStatus"] == "RUNNING")
        label = f"com.amazonaws.ecs.task-arn={task}"
        return self.docker.client.containers.list(filters={"label": label}, ignore_removed=True)[0]

    def push(self, name: str) -> str:
        """Push an empty image with tag 1, remove it locally and return its repository's URI."""
        repository = self.client("ecr").create_repository(repositoryName=name.partition("/")[2])
        archive = io.BytesIO()
        tarfile.open(fileobj=archive, mode="w").close()
        engine = self.docker.client
        engine.api.import_image_from_data(archive.getvalue(), repository=name, tag="1")
        assert "error" not in engine.api.push(name, tag="1")
        engine.images.remove(f"{name}:1")
        return str(repository["repository"]["repositoryUri"])

    def service(self, definition: str, *, balanced: bool = True, **more: Any) -> "Service":
        """Create a service, behind a load balancer of its own if `balanced`."""
        ecs, name = self.client("ecs"), f"s{next(_numbers)}"
        ecs.create_cluster(clusterName=CLUSTER)
        group = self._group(name) if balanced else ""
        target = {"targetGroupArn": group, "containerName": "app", "containerPort": 8000}
        ecs.create_service(
            cluster=CLUSTER,
            serviceName=name,
            taskDefinition=definition,
            launchType="FARGATE",
            loadBalancers=[target] if balanced else [],
            deploymentConfiguration={
                "minimumHealthyPercent": 100,
                "maximumPercent": 200,
                "deploymentCircuitBreaker": BREAKER | more.pop("breaker", {}),
            },
            **({"desiredCount": 1} | more),
        )
        return Service(aws=self, name=name, group=group)

    def _group(self, name: str) -> str:
        elb = self.client("elbv2")
        balancer = elb.create_load_balancer(Name=name)["LoadBalancers"][0]["LoadBalancerArn"]
        group = elb.create_target_group(
            Name=name,
            Protocol="HTTP",
            Port=8000,
            TargetType="ip",
            HealthCheckPath="/health",
            HealthCheckIntervalSeconds=5,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        action = {"Type": "forward", "TargetGroupArn": group}
        elb.create_listener(
            LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action]
        )
        return str(group)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that a test has created."""

    aws: Aws
    name: str
    group: str

    def update(self, definition: str) -> str:
        """Begin a deployment; return its id."""
        answer = self.aws.client("ecs").update_service(
            cluster=CLUSTER, service=self.name, taskDefinition=definition
        )
        return str(answer["service"]["deployments"][0]["id"])

    def look(self) -> dict[str, Any]:
        ecs = self.aws.client("ecs")
        answer = ecs.describe_services(cluster=CLUSTER, services=[self.name])
        found: dict[str, Any] = answer["services"][0]
        return found

    def deployments(self) -> dict[str, tuple[str, str]]:
        """Return status and rollout state of each deployment."""
        listed = self.look()["deployments"]
        return {item["id"]: (item["status"], item["rolloutState"]) for item in listed}

    def state(self) -> str:
        """Return the rollout state of the primary deployment."""
        return str(self.look()["deployments"][0]["rolloutState"])

    def completed(self, seconds: float = 60) -> None:
        """Wait until the primary deployment is complete."""
        eventually(lambda: self.look()["deployments"][0]["rolloutState"] == "COMPLETED", seconds)

    def targets(self) -> list[str]:
        """Return the states of the targets."""
        answer = self.aws.client("elbv2").describe_target_health(TargetGroupArn=self.group)
        return sorted(i["TargetHealth"]["State"] for i in answer["TargetHealthDescriptions"])

    def tasks(self, status: str = "RUNNING") -> list[dict[str, Any]]:
        ecs = self.aws.client("ecs")
        arns = ecs.list_tasks(cluster=CLUSTER, serviceName=self.name, desiredStatus=status)
        if not arns["taskArns"]:
            return []
        answer = ecs.describe_tasks(cluster=CLUSTER, tasks=arns["taskArns"])
        found: list[dict[str, Any]] = answer["tasks"]
        return found

    def get(self, path: str = "/") -> str:
        """Send a request to the load balancer; return the version that answered, or the error."""
        url = self.aws.emulator.load_balancer.format(name=self.name) + path
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            return f"failed: {error}"

    @contextmanager
    def load(self) -> Iterator["Load"]:
        """Send requests continuously inside the block."""
        load = Load(service=self)
        threads = [threading.Thread(target=load.run) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.stop.set()
            for thread in threads:
                thread.join()

    def delete(self) -> None:
        self.aws.client("ecs").delete_service(cluster=CLUSTER, service=self.name, force=True)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Sends requests to a service continuously and counts the answers."""

    service: Service
    answers: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            self.answers[self.service.get()] += 1
