"""A GitHub release, promoted with the roles that jobs have, from one account to another.

The embedded AWS of these tests enforces permissions and trust (`AUTH=true`); it does not check the
signature of a token.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import pytest

from ci import config as configuration
from ci import main, release
from ci.aws import ecr
from ci.aws.session import Aws, assume_with_token
from ci.errors import AwsError, PromotionError
from ci.infra import trust
from ci.local import stack
from ci.local.aws import server
from ci.main import Acso
from ci.pipeline.decorators import in_process
from ci.release.records import table
from ci.release.records.release import Entry, Kind, Release, State, next_id, timestamp
from tests.local.releases.environment import ROOT, World, make
from tests.unit.github.issuer import issuing, token

pytestmark = pytest.mark.docker
STAGING = "111111111111"  # production is in the account whose load balancers answer: 000000000000
TEXT = (
    (ROOT / "tests" / configuration.FILE)
    .read_text()
    .replace(
        "[project]",
        '[project]\nrepository = "o/acso"\nowner_id = "1"\nrepository_id = "2"',
    )
    .replace("[environments.staging]", f'[environments.staging]\naccount = "{STAGING}"')
    .replace("bake_time = 30", "bake_time = 0")
)
CONFIG = configuration.parse(TEXT)
RELEASE = "repo:o@1/acso@2:environment:production"
MAIN = "repo:o@1/acso@2:ref:refs/heads/main"
UNMAPPED = ["ecs:*", "iam:SimulatePrincipalPolicy", "logs:GetLogEvents"]
TAG = {"event": "release", "ref": "refs/tags/v1", "actor": "ann"}


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """Two accounts of one embedded AWS: staging's and production's."""

    staging: World
    production: World

    def images(self, name: str) -> dict[str, release.Image]:
        """Return images that staging's registry has alone, by agent."""
        world = self.production  # pushes go to the registry of its account
        made = {
            agent.name: world.pushed(agent.name, name, agent.repository) for agent in CONFIG.agents
        }
        self.copy(self.production, self.staging, name)
        for agent in CONFIG.agents:
            world.context.aws.client("ecr").batch_delete_image(
                repositoryName=agent.repository, imageIds=[{"imageTag": name}]
            )
        return made

    def copy(self, source: World, target: World, name: str) -> None:
        """Carry images over, as a replication rule of a registry does."""
        here, there = (item.context.aws.client("ecr") for item in (source, target))
        for agent in CONFIG.agents:
            where = {"repositoryName": agent.repository}
            (image,) = here.batch_get_image(**where, imageIds=[{"imageTag": name}])["images"]
            there.put_image(**where, imageManifest=image["imageManifest"], imageTag=name)

    async def validated(self, commit: str, images: dict[str, release.Image]) -> None:
        """Put a validated release of these images on staging's record."""
        context = self.staging.context
        env, now = context.env, context.clock.now()
        made = Release(
            id=next_id((), now),
            environment=env.name,
            kind=Kind.DEPLOY,
            state=State.SUCCEEDED,
            entries=tuple(
                Entry(
                    agent=agent.name,
                    service=env.service(agent),
                    action="create",
                    after=release.ServiceRevision(
                        revision=f"{env.service(agent)}:1",
                        version=images[agent.name].version,
                        digest=images[agent.name].digest,
                        desired=1,
                    ),
                )
                for agent in CONFIG.agents
            ),
            request=release.Request(commit=commit, branch="main"),
            created_at=timestamp(now),
        )
        await table.write(context, made, "token")


def permit_unmapped(world: World) -> None:
    """Allow the deploy role on any resource what the embedded AWS gives other resources than AWS.

    To ECS's calls and the simulation it gives none; a log group's ARN lacks the `:*` of AWS's.
    """
    allowed = {"Effect": "Allow", "Action": UNMAPPED, "Resource": "*"}
    world.context.aws.client("iam").put_role_policy(
        RoleName=trust.role(world.context.env, trust.DEPLOY),
        PolicyName="unmapped",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )


@contextmanager
def instance() -> Iterator[None]:
    """Name an embedded AWS of these tests' own, which enforces permissions."""
    environ = server.environ
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACSO_INSTANCE", f"identity-{os.getpid()}")
        patch.setattr(server, "environ", lambda **given: environ(**given) | {"AUTH": "true"})
        yield


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Both environments with their infrastructure, applied by an administrator."""
    with instance():
        try:
            running = anyio.run(stack.up, print)
            made = Accounts(
                staging=anyio.run(make, running, "staging", CONFIG, STAGING),
                production=anyio.run(make, running, "production", CONFIG),
            )
            permit_unmapped(made.production)
            try:
                yield made
            finally:
                made.production.remove_images()
        finally:
            anyio.run(partial(stack.down, print, cache=False))


class Source:
    """The repository, as far as a promotion reads it."""

    def file(self, path: str) -> "Source":
        assert path == configuration.FILE
        return self

    async def contents(self) -> str:
        return TEXT


@dataclass(frozen=True)
class Secret:
    text: str

    async def plaintext(self) -> str:
        return self.text


@contextmanager
def job(accounts: Accounts, subject: str) -> Iterator[Acso]:
    """Give the module what the workflow's step gives it, in a job of this subject."""
    aws, source = accounts.staging.context.aws, Source()
    with issuing(subject) as issuer, in_process():
        url, may_ask = map(Secret, issuer.environ().values())
        given: dict[str, Any] = {
            "source": source,
            "endpoint": aws.endpoint,
            "registry": aws.registry,
            "load_balancer": aws.load_balancer,
            "oidc_request_url": url,
            "oidc_request_token": may_ask,
        }
        yield Acso(**given)
        assert set(issuer.audiences) <= {"sts.amazonaws.com"}


async def as_role(world: World, kind: str, subject: str) -> Aws:
    """Return the AWS that a job of this subject sees in a role."""
    aws, env = world.context.aws, world.context.env
    name = f"arn:aws:iam::{await aws.account()}:role/{trust.role(env, kind)}"
    keys = await assume_with_token(
        name, token(subject, "sts.amazonaws.com"), region=aws.region, endpoint=aws.endpoint
    )
    return replace(aws, credentials=keys, _clients={})


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (trust.DEPLOY, RELEASE),
        (trust.DEPLOY, "repo:o/acso:ref:refs/heads/main"),
        (trust.DEPLOY, f"{MAIN}x"),
        (trust.PROMOTE, MAIN),
        (trust.PROMOTE, "repo:o/acso:environment:production"),
        (trust.PROMOTE, "repo:o@1/acso@2:ref:refs/tags/v1"),
    ],
)
async def test_any_other_subject_is_denied(accounts: Accounts, kind: str, subject: str) -> None:
    with pytest.raises(AwsError) as raised:
        await as_role(accounts.staging, kind, subject)
    assert raised.value.code == "AccessDenied"


async def test_the_promote_role_reads_its_environment_and_changes_nothing(
    accounts: Accounts,
) -> None:
    aws = await as_role(accounts.staging, trust.PROMOTE, RELEASE)
    context = replace(accounts.staging.context, aws=aws)
    assert (await table.history(context)).unfinished == ()
    assert await ecr.has(aws, CONFIG.agents[0].repository, "sha256:" + "0" * 64) is False
    item = {"pk": {"S": "x"}, "sk": {"S": "x"}}
    releases, stack_name = context.outputs.releases_table, context.env.prefix
    denied: list[tuple[str, str, dict[str, Any]]] = [
        ("dynamodb", "put_item", {"TableName": releases, "Item": item}),
        ("dynamodb", "get_item", {"TableName": context.outputs.state_table, "Key": item}),
        ("ecs", "list_clusters", {}),
        ("ecr", "put_image", {"repositoryName": "acso-supervisor", "imageManifest": "{}"}),
        ("cloudformation", "get_template", {"StackName": stack_name}),
        ("cloudformation", "describe_stacks", {"StackName": "acso-registry"}),
    ]
    for service, operation, arguments in denied:
        with pytest.raises(AwsError, match="not authorized to perform"):
            await aws.call(service, operation, **arguments)


async def test_a_job_of_another_subject_is_told_which_one_is_trusted(accounts: Accounts) -> None:
    with job(accounts, "repo:o@1/acso@2:ref:refs/tags/v1") as acso, pytest.raises(AwsError) as told:
        await acso.ci(**TAG, commit="abc")
    assert "subject of this job's token: repo:o@1/acso@2:ref:refs/tags/v1" in str(told.value)
    assert f"subjects that the role trusts, by acso.toml: {RELEASE}" in str(told.value)
    assert "only environment:production may assume the role" in told.value.hint


async def test_a_release_promotes_what_staging_has_validated_once_its_images_are_replicated(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, production = accounts.staging, accounts.production
    images = accounts.images("good-released")
    await accounts.validated("abc", images)

    async def content_versions(*_: object) -> dict[str, str]:
        return {agent.name: "good-released" for agent in CONFIG.agents}

    monkeypatch.setattr(main, "content_versions", content_versions)
    with job(accounts, RELEASE) as acso:
        with pytest.raises(PromotionError, match="not in the target's registry") as refused:
            await acso.ci(**TAG, commit="abc")
        assert "ECR replication has to bring them from staging's registry" in refused.value.hint
        accounts.copy(staging, production, "good-released")
        # A merge that changed no agent: staging has no record of its commit.
        text = await acso.ci(**TAG, commit="merged")
    assert "is live in production" in text
    assert set((await production.versions()).values()) == {"good-released"}
    (record,) = await production.records()
    assert record.request == release.Request(
        commit="merged",
        branch="refs/tags/v1",
        actor="ann",
        promoted_from=f"staging {(await staging.records())[0].id}",
    )
    assert {run.digest for run in record.after.values()} == {
        image.digest for image in images.values()
    }
    assert await staging.context.aws.account() != await production.context.aws.account()


async def test_what_staging_has_not_validated_is_refused_with_what_to_do(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def content_versions(*_: object) -> dict[str, str]:
        return {agent.name: "never-deployed" for agent in CONFIG.agents}

    monkeypatch.setattr(main, "content_versions", content_versions)
    with job(accounts, RELEASE) as acso, pytest.raises(PromotionError) as refused:
        await acso.ci(**TAG, commit="abcd" * 10)
    assert "staging has validated no release of commit abcdabcdabcd" in str(refused.value)
    assert refused.value.hint.startswith("push it to main")
