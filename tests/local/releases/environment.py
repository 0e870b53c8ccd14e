"""An environment in an embedded AWS of its own, and images of a stand-in for the agents."""

import contextlib
import io
import itertools
import tarfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import boto3
import docker
import httpx

from ci import config as configuration
from ci import infra, release
from ci.aws import elb
from ci.aws.session import Aws, Credentials
from ci.aws.target import Target
from ci.config import Config, Environment
from ci.local import embedded_aws, stack
from ci.release.records.release import Release
from ci.release.records.table import history

ROOT = Path(__file__).parents[3]
SERVER = Path(__file__).with_name("server.py").read_bytes()
#: What the agents' images have under this name, as far as a health check needs it.
HEALTHCHECK = b"""\
import os, urllib.request
path = "alive" if os.environ["MODE"] == "new" else "health"
urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}/{path}", timeout=2)
"""
PACE = 0.05  # seconds between requests of the load: 20 a second
REQUEST = release.Request(commit="abc", branch="develop", actor="tests")


def _target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, env=chosen)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A validation that says what it is told to."""

    ok: bool = True

    def summary(self) -> str:
        """Say it."""
        return "all is well" if self.ok else "the moon is in the wrong quarter"


@dataclass(frozen=True, kw_only=True)
class World:
    """A place to release in, images for it, and what a release said.

    With `clients`, the images have boto3, as those of the agents.
    """

    context: release.ReleaseContext
    emulator: embedded_aws.Emulator
    base: str
    docker: Any
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    lines: list[str] = field(default_factory=list)
    clients: bool = False
    _made: dict[str, str] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Keep a line of progress."""
        self.lines.append(line)
        print(line, flush=True)

    @property
    def revisions(self) -> dict[str, str]:
        """The revision that each agent's service is meant to run."""
        found = self.services()
        env = self.context.env
        return {
            agent.name: found[env.service(agent)]["taskDefinition"].rpartition(":")[2]
            for agent in self.context.config.agents
            if env.service(agent) in found
        }

    def tasks(self) -> set[str]:
        """Return the ids of all running tasks."""
        ecs = self.context.aws.client("ecs")
        return set(ecs.list_tasks(cluster=self.context.outputs.cluster)["taskArns"])

    async def records(self) -> tuple[Release, ...]:
        """Return the records of the environment, newest first."""
        return (await history(self.context)).releases

    def image(self, agent: str, name: str) -> release.Image:
        """Return an agent's image of a behaviour, such as "good" or "crash", or "good-2"."""
        # One repository for all: the stand-in is the same for every agent, and a push takes time.
        return self.pushed(agent, name, self.context.config.agents[0].repository)

    def pushed(self, agent: str, name: str, to: str) -> release.Image:
        """Return an agent's image of a behaviour, pushed to a repository."""
        if name not in self._made:
            self._made[name] = self._make(name)
        repository = f"{self.emulator.registry}/{to}"
        image = self.docker.images.get(self._made[name])
        image.tag(repository, tag=name)
        pushed = self.docker.images.push(repository, tag=name, stream=True, decode=True)
        digest = next(item["aux"]["Digest"] for item in pushed if "aux" in item)
        self.docker.images.remove(f"{repository}:{name}", noprune=True)
        return release.Image(agent=agent, version=name, reference=f"{repository}@{digest}")

    def images(self, name: str = "good", **others: str) -> list[release.Image]:
        """Return an image for every agent; others by the agent's name with `_`."""
        return [
            self.image(agent.name, others.get(agent.package, name))
            for agent in self.context.config.agents
        ]

    async def deploy(self, images: list[release.Image], *, valid: bool = True) -> release.Outcome:
        """Deploy them."""
        return await release.deploy(self.context, images, REQUEST, validation(valid), self.say)

    async def rollback(self, to: str | None = None) -> release.Outcome:
        """Go back."""
        return await release.rollback(self.context, to, REQUEST, validation(True), self.say)

    async def versions(self) -> dict[str, str]:
        """Return what each agent answers through the load balancer."""
        found = {}
        for agent in self.context.config.agents:
            answer = await elb.get(self.context.url(agent.name) + agent.health_path)
            found[agent.name] = str(answer.body.get("version", answer))
        return found

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the services that ECS has, by name."""
        ecs = self.context.aws.client("ecs")
        cluster = self.context.outputs.cluster
        names = ecs.list_services(cluster=cluster)["serviceArns"]
        if not names:
            return {}
        found = ecs.describe_services(cluster=cluster, services=names)["services"]
        return {item["serviceName"]: item for item in found}

    def clear(self) -> None:
        """Remove every service and all records."""
        ecs, cluster = self.context.aws.client("ecs"), self.context.outputs.cluster
        for name in self.services():
            ecs.delete_service(cluster=cluster, service=name, force=True)
        dynamodb, table = self.context.aws.client("dynamodb"), self.context.outputs.releases_table
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={key: item[key] for key in ("pk", "sk")})
        self.lines.clear()

    def _make(self, name: str) -> str:
        """Commit an image whose server behaves as the name's first word says."""
        container = self.docker.containers.create(
            self.base, "true", labels={"acso.test": self.run_id}
        )
        try:
            container.put_archive("/", _archive())
            if self.clients:
                container.put_archive("/app", _packages())
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

    async def validate(_: release.ReleaseContext) -> Checked:
        return Checked(ok=ok)

    return validate


async def make(
    running: stack.Stack,
    name: str = "development",
    config: Config | None = None,
    account: str = "test",
) -> World:
    """Make an environment's infrastructure in an embedded AWS.

    Args:
        running: the embedded AWS.
        name: the environment.
        config: another acso.toml than the tests' own.
        account: an access key id; of twelve digits, it is an account of that number.
    """
    aws = reach(running.emulator, account)
    config = config or configuration.load(ROOT / "tests" / configuration.FILE)
    env = replace(config.environment(name), bake_time=0)
    await infra.apply_registry(_target(aws, config), print)
    outputs = await infra.apply(_target(aws, config, env), print)
    return World(
        context=release.ReleaseContext(aws=aws, config=config, env=env, outputs=outputs),
        emulator=running.emulator,
        base=running.base.reference,
        docker=running.docker.client,
    )


def reach(running: embedded_aws.Emulator, account: str = "test") -> Aws:
    """Return the way to an embedded AWS."""
    return Aws(
        region="us-east-1",
        endpoint=running.endpoint,
        registry=running.registry,
        load_balancer=running.load_balancer,
        credentials=Credentials(access_key_id=account, secret_access_key="test"),
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


def _packages() -> bytes:
    """Return boto3 and what it needs, with the model of DynamoDB alone."""
    buffer = io.BytesIO()
    site = Path(boto3.__file__).parents[1]
    names = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.add(site / name, arcname=name, filter=_needed)
    return buffer.getvalue()


def _needed(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(item.name).parts
    model = parts[1:2] == ("data",) and len(parts) > 2 and item.isdir()
    if "__pycache__" in parts or (model and parts[2] != "dynamodb"):
        return None
    item.mode |= 0o444
    return item


@contextlib.asynccontextmanager
async def load(urls: Sequence[str]) -> AsyncIterator[Counter[str]]:
    """Request these URLs all the time; count the answers by status or error."""
    answers: Counter[str] = Counter()

    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            for url in itertools.cycle(urls):
                try:
                    answers[str((await client.get(url)).status_code)] += 1
                except httpx.TransportError as error:
                    answers[repr(error)] += 1
                await anyio.sleep(PACE)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        yield answers
        group.cancel_scope.cancel()
