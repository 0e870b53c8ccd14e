"""The pipeline as a Dagger module: every function a user can call.

`dagger call NAME` runs a function inside a Dagger engine, `./acso NAME` runs it in its own process.
The docstrings are the help of both.
"""

import datetime
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import dagger
from dagger import DefaultPath, Doc, Ignore, object_type

from ci import config as configuration
from ci import release
from ci.aws.session import Aws, Credentials, check_account
from ci.aws.target import Target
from ci.config import Config, Environment, policies
from ci.errors import ConfigError, UsageError
from ci.infra.trust import DEPLOY, PROMOTE
from ci.pipeline import (
    ancestry,
    credentials,
    environments,
    experimenting,
    images,
    preview,
    promoting,
)
from ci.pipeline import bootstrap as first_time
from ci.pipeline.arguments import check_number, check_url
from ci.pipeline.decorators import cached, cached_per_session, source_check, uncached
from ci.pipeline.releasing import Releasing
from ci.pipeline.types import (
    Actor,
    AuditRequired,
    Cancelled,
    Env,
    Format,
    OnCancel,
    OutputFormat,
    Wait,
)
from ci.release.observe import logs as lines
from ci.release.records.history import history as list_releases
from ci.release.records.history import release_detail
from ci.report.progress import stage
from ci.report.result import CommandResult, rendered
from ci.stages import quality
from ci.stages.base import IGNORE
from ci.stages.build import Built, content_versions
from ci.stages.running import run_all, run_gate

CI_WAIT = 1800  # seconds that `ci` waits for another release of the environment


@object_type
class Acso:
    """Take the ACSO agents from a commit to a validated release, and back when it fails.

    `check` runs the quality gates, `deploy` does everything up to a validated environment,
    `rollback` returns to the previous release. Start with `plan --env development`: it changes
    nothing.
    """

    source: Annotated[
        dagger.Directory,
        DefaultPath("/"),
        Ignore(IGNORE),
        Doc("The repository to work on."),
    ]
    endpoint: Annotated[str | None, Doc("AWS endpoint URL, instead of AWS's own.")] = None
    registry: Annotated[str | None, Doc("Registry host, instead of the account's ECR.")] = None
    load_balancer: Annotated[
        str | None, Doc("URL pattern of load balancers, with {name}, instead of DNS names.")
    ] = None
    aws_access_key_id: Annotated[dagger.Secret | None, Doc("AWS access key id.")] = None
    aws_secret_access_key: Annotated[dagger.Secret | None, Doc("AWS secret access key.")] = None
    aws_session_token: Annotated[dagger.Secret | None, Doc("AWS session token.")] = None
    oidc_request_url: Annotated[
        dagger.Secret | None, Doc("URL where the CI system issues OIDC tokens.")
    ] = None
    oidc_request_token: Annotated[
        dagger.Secret | None, Doc("Token that authorises the request for an OIDC token.")
    ] = None
    webhook: Annotated[
        dagger.Secret | None, Doc("Slack-compatible webhook URL for release notifications.")
    ] = None

    @cached
    @source_check
    async def lint(self) -> str:
        """Check style, formatting and import contracts (ruff, import-linter)."""
        image = (await self._config()).project.base_image
        return await run_gate("lint", lambda: quality.lint(self.source, image))

    @cached
    @source_check
    async def typecheck(self) -> str:
        """Check types in strict mode, tests included (mypy)."""
        image = (await self._config()).project.base_image
        return await run_gate("typecheck", lambda: quality.typecheck(self.source, image))

    @cached_per_session
    @source_check
    async def security(self, audit_required: AuditRequired = False) -> str:
        """Look for insecure code, committed secrets and vulnerable packages."""
        image = (await self._config()).project.base_image
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        return await quality.security(self.source, image, today=today, required=audit_required)

    @cached
    @source_check
    async def test(self) -> str:
        """Run the fast tests; at least 80 % branch coverage of code that needs no containers."""
        return await self._tests(configuration.CHECKS)

    @cached_per_session
    async def check(self, audit_required: AuditRequired = False) -> str:
        """Run every quality gate in parallel: lint, typecheck, security, test.

        All of them run to the end, so that one call shows every problem.
        """
        return await self._check(configuration.CHECKS, audit_required=audit_required)

    @cached
    async def build(
        self, agent: Annotated[str | None, Doc("Only this agent; default: all of them.")] = None
    ) -> str:
        """Build the agents' images; print the content version of each."""
        config = await self._config()
        built = await images.build(
            self.source, config, (config.agent(agent),) if agent else config.agents
        )
        return "\n".join(f"{item.agent} {item.version}" for item in built)

    @uncached
    async def publish(self, env: Env) -> str:
        """Push the images that the registry lacks; print each image reference with its digest."""
        target = await self._target(env)
        built = await images.build(self.source, target.config, target.config.agents)
        pushed = await images.push(target, built)
        return "\n".join(image.reference for image in pushed)

    @uncached
    async def plan(self, env: Env, format: OutputFormat = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Show what a deploy would change, service by service; changes nothing.

        `acso plan` exits with 0 if nothing would change and with 2 if something would; `dagger
        call` exits with 0 in both cases. Save the JSON document for `deploy --plan`: with
        `acso plan --output FILE` or `dagger call plan --format json -o FILE`.
        """
        target = await self._target(env)
        built = await images.build(self.source, target.config, target.config.agents)
        async with stage("plan"):
            found = await preview.preview(target, built)
        return _rendered(found, format, exit_code=found.exit_code)

    @uncached
    async def deploy(  # noqa: PLR0913, PLR0917 (its flags)
        self,
        env: Env,
        commit: Annotated[str, Doc("Commit of the source, for the release record.")] = "",
        branch: Annotated[str, Doc("Branch or tag of the source, for the release record.")] = "",
        actor: Actor = "",
        dirty: Annotated[bool, Doc("The source has uncommitted changes.")] = False,
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        plan: Annotated[
            dagger.File | None, Doc("Saved plan: refuse to deploy if it is outdated.")
        ] = None,
        dry_run: Annotated[bool, Doc("Only plan: same output and exit code as `plan`.")] = False,
        over: Annotated[
            bool, Doc("Deploy also if that undoes somebody's newer release of another checkout.")
        ] = False,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Check, build, push, roll out and validate; roll back if that fails.

        Agents that did not change are not touched. A release that fails is rolled back as a whole.
        The exit code is 0 only if every agent runs, and answers with, the deployed version.
        """
        if dry_run:
            return await self.plan(env, format)
        target = await self._target(env)
        if dirty and env != "development":
            message = f"the source has uncommitted changes; {env} accepts commits only"
            raise UsageError(message, hint="commit them, or deploy to development")
        saved = preview.parse(await plan.contents(), env) if plan else None
        request = release.Request(commit=commit, branch=branch, actor=actor, dirty=dirty)
        relate = ancestry.relation(over=over)
        releasing = replace(await self._releasing(wait, on_cancel), relate=relate)
        async with stage("preconditions") as span:
            if saved:
                await preview.require_same_environment(saved, target)
            if not wait:
                await environments.require_unlocked(target, span.say)
            await ancestry.require_contained(target, request, relate, self._versions(target.config))
        built = await self._check_and_build(
            target.config,
            target.env.checks,
            audit_required=target.aws.endpoint is None and target.config.project.audit_required,
        )
        if saved:
            await preview.require_current(saved, target, built)
        context = await environments.prepare(target)
        pushed = await images.push(target, built)
        expected = saved.services if saved else None
        return _rendered(await releasing.deploy(context, pushed, request, expected), format)

    @uncached
    async def promote(  # noqa: PLR0913, PLR0917 (its flags)
        self,
        from_: Annotated[str, Doc("Environment whose validated release is promoted.")],
        env: Annotated[str, Doc("Environment to promote to.")],
        release_: Annotated[
            str | None, Doc("Release to promote; default: the last validated one.")
        ] = None,
        actor: Actor = "",
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Deploy a release that another environment has validated: same digests, nothing rebuilt.

        Refused if that release did not pass validation there. Settings that differ between the
        environments in acso.toml, such as sizes and counts, are those of the target environment.
        """
        if from_ == env:
            message = f"{env} cannot be promoted to itself"
            raise UsageError(message, hint=f"name an environment other than {env} with --from")
        target = await self._target(env)
        source = await self.context(from_, PROMOTE)
        request = release.Request(actor=actor)
        releasing = await self._releasing(wait, on_cancel)
        outcome = await promoting.promote(source, release_, target, request, releasing)
        return _rendered(outcome, format)

    @uncached
    async def bootstrap(self, env: Env, format: OutputFormat = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Show what an administrator applies before CI can deploy; changes nothing.

        Lists the resources, their fixed costs by the month, and what CI may do afterwards.
        """
        return _rendered(await first_time.bootstrap(await self._target(env)), format)

    @uncached
    async def verify(self, env: Env, format: OutputFormat = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Check that an environment has all that a release needs; changes nothing.

        Looks at account and region, images, roles and their permissions, network, target groups
        and logs. Lists every problem with the resource, the missing permission and the fix.
        `deploy` does the same for its own images before it changes a service.
        """
        context = await self.context(env)
        found = await environments.verify(context, await release.running_images(context))
        return _rendered(found, format)

    @uncached
    async def validate(
        self,
        env: Env,
        suite: Annotated[
            str,
            Doc("Suites to run, separated by commas; default: those of acso.toml."),
        ] = "",
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Run validation checks on an environment; fails unless every check ran and passed.

        A check that could not look (a permission, a timeout, no data) is not examined: that fails
        as well, unless acso.toml accepts it. docs/validation.md lists the suites and checks.
        """
        return _rendered(await environments.validated(await self.context(env), suite), format)

    @uncached
    async def chaos(  # noqa: PLR0913, PLR0917 (its flags)
        self,
        env: Env,
        experiment: Annotated[
            str, Doc("Experiments, separated by commas; default: all of them.")
        ] = "",
        agent: Annotated[str | None, Doc("Agent to break; default: the first.")] = None,
        seconds: Annotated[int, Doc("Seconds that a fault lasts.")] = 10,
        undo: Annotated[bool, Doc("Only undo what a killed process has left.")] = False,
        yes_production: Annotated[bool, Doc("Break things in production, too.")] = False,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Break one thing after the other, and check that the rest of the environment holds.

        Experiments: stop-task, stop-agent, cut-agent, cut-bedrock, deny-dynamodb. Every fault is
        recorded before it is made, and undone in any case, if need be by the next command.
        """
        experimenting.require_consent(env, given=yes_production or undo)
        context = await self.context(env)
        if undo:
            return _rendered(await experimenting.undone(context), format)
        plan = experimenting.planned(context, experiment, agent, seconds)
        return _rendered(await experimenting.experiment(context, plan), format)

    @uncached
    async def rollback(
        self,
        env: Env,
        to: Annotated[
            str | None,
            Doc(
                "Release to roll back to: its id, or a task definition revision "
                "(acso-staging-supervisor:12) or image digest (sha256:...) of it; default: the "
                "last validated release before the current one."
            ),
        ] = None,
        actor: Actor = "",
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Roll every service back to the last validated release, and verify the result."""
        releasing = await self._releasing(wait, on_cancel)
        context = await self.context(env)
        outcome = await releasing.rollback(context, to, release.Request(actor=actor))
        return _rendered(outcome, format)

    @uncached
    async def status(self, env: Env, format: OutputFormat = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Show what runs, of which release, and whether it matches the release record."""
        return _rendered(await release.status(await self.context(env)), format)

    @uncached
    async def logs(
        self,
        env: Env,
        agent: Annotated[list[str] | None, Doc("Only these agents; default: all.")] = None,
        since: Annotated[str, Doc("A time, or how long ago: 30s, 10m (default), 2h.")] = "",
        release: Annotated[str, Doc("Only lines of this release's tasks.")] = "",
        grep: Annotated[str, Doc("Only lines that match this regular expression.")] = "",
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Show the agents' log lines, interleaved by time.

        The JSON format is one object per line. `acso logs --follow` goes on as lines arrive.
        """
        query = lines.Query(agents=tuple(agent or ()), since=since, release=release, grep=grep)
        context = await self.context(env)
        return await lines.render(context, query, as_json=format is Format.JSON)

    @uncached
    async def run_task(
        self,
        env: Env,
        agent: Annotated[str, Doc("Agent whose image, role, size and network are used.")],
        args: Annotated[list[str], Doc("The command; for `acso` after --.")],
        seconds: Annotated[int, Doc("Time limit in seconds.")] = 3600,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Run a command in a one-off task, set up like an agent's service; show its log.

        `acso run-task` streams the log and exits with the command's own exit code.
        """
        seconds = check_number("seconds", seconds)
        context = await self.context(env)
        async with stage("task") as span:
            ran = await release.run_task(
                context, agent, args, tell=span.say, say=span.say, seconds=seconds
            )
            ran.raise_for_failure()
        return _rendered(ran, format)

    @uncached
    async def history(
        self,
        env: Env,
        release: Annotated[str | None, Doc("Show this release in full.")] = None,
        limit: Annotated[int, Doc("Number of releases to list.")] = 20,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """List an environment's releases, or show one with its steps, services and failures."""
        limit = check_number("limit", limit)
        context = await self.context(env)
        found: CommandResult = await (
            release_detail(context, release) if release else list_releases(context, limit=limit)
        )
        return _rendered(found, format)

    @uncached
    async def unlock(
        self,
        env: Env,
        force: Annotated[bool, Doc("Break it even if its holder is alive.")] = False,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Break a lock left by a dead process; refuses while its holder may be alive."""
        return _rendered(await release.unlock(await self.context(env), force=force), format)

    @uncached
    async def token(
        self,
        env: Env,
        caller: Annotated[str, Doc("Whose token.")] = "operator",
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Show a person's token for the agents' APIs; needs an administrator of the environment."""
        return _rendered(await release.token(await self.context(env), caller), format)

    @uncached
    async def rotate_tokens(
        self,
        env: Env,
        revoke: Annotated[bool, Doc("Refuse the old tokens, too: after a leak.")] = False,
        format: OutputFormat = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Replace the tokens of people and agents; nothing is rolled out."""
        context = await self.context(env)
        return _rendered(await release.rotate_tokens(context, revoke=revoke), format)

    @uncached
    async def ci(
        self,
        event: Annotated[str, Doc("Event: push, pull_request or release.")],
        ref: Annotated[str, Doc("Full ref of the event, such as refs/heads/main.")],
        commit: Annotated[str, Doc("Commit of the source, for the release record.")] = "",
        actor: Actor = "",
    ) -> str:
        """Do what a repository event requires: the function that CI calls.

        A push to an environment's branch deploys that environment. A published release promotes
        what the environment named by `promotes_from` in acso.toml has validated of this commit, or
        of the same content; it builds nothing. Any other event checks and builds. Two events in a
        row wait for each other, half an hour at most.
        """
        config = await self._config()
        environment = config.released_by(event, ref)
        if environment is not None and event == environment.event and environment.promotes_from:
            request = release.Request(commit=commit, branch=ref, actor=actor)
            return await self._promote_source(
                environment.promotes_from, environment.name, request, wait=CI_WAIT
            )
        # All gates, whatever a deployment from a laptop needs; the deployment finds them cached.
        built = await self._check_and_build(
            config, configuration.CHECKS, audit_required=config.project.audit_required
        )
        if environment is None:
            return "\n".join(f"{item.agent} {item.version}" for item in built)
        return await self.deploy(
            environment.name, commit=commit, branch=ref, actor=actor, wait=CI_WAIT
        )

    async def _promote_source(
        self, from_: str, env: str, request: release.Request, *, wait: int
    ) -> str:
        """Promote the validated release of this source's commit or content."""
        target = await self._target(env)
        source = await self.context(from_, PROMOTE)
        versions = self._versions(target.config)
        async with stage("validated release") as span:
            span.result = await release.release_of(source, request.commit, versions)
        releasing = await self._releasing(wait, OnCancel.KEEP)
        return _rendered(
            await promoting.promote(source, span.result, target, request, releasing), Format.TEXT
        )

    def _versions(self, config: Config) -> ancestry.Versions:
        return partial(content_versions, self.source, config.project, config.agents)

    async def _config(self) -> Config:
        """Read acso.toml from the source; the module's own copy may be of another commit."""
        config = configuration.parse(await self.source.file(configuration.FILE).contents())
        return policies.with_policies(
            config, {name: await self._policy(name) for name in policies.paths(config)}
        )

    async def _policy(self, name: str) -> str:
        if not await self.source.exists(name):
            message = f"{configuration.FILE}: permissions: no file {name}"
            raise ConfigError(message, hint="the path is relative to the repository's root")
        return await self.source.file(name).contents()

    async def _target(self, env: str, role: str = DEPLOY) -> Target:
        """Return what a command acts on; raises `WrongAccountError` for another AWS account."""
        config = await self._config()
        environment = config.environment(env)
        aws = await self._aws(config, environment, role)
        return Target(aws=aws, config=config, env=await check_account(aws, environment))

    async def context(self, env: str, role: str = DEPLOY) -> release.ReleaseContext:
        """Return a deployed environment; raises `UsageError` if it was never deployed.

        Not a function of the module: the command line's own commands start from it. With an OIDC
        token, the environment is reached with temporary credentials of its role of that kind.
        """
        return await environments.existing(await self._target(env, role))

    async def _releasing(self, wait: int, on_cancel: OnCancel) -> Releasing:
        webhook = await credentials.webhook(self.webhook)
        return Releasing(wait=check_number("wait", wait), on_cancel=on_cancel, webhook=webhook)

    async def _aws(self, config: Config, environment: Environment, role: str) -> Aws:
        return Aws(
            region=environment.region,
            endpoint=check_url(self.endpoint) if self.endpoint else None,
            registry=self.registry,
            load_balancer=self.load_balancer,
            credentials=await self._credentials(config, environment, role),
        )

    async def _credentials(
        self, config: Config, environment: Environment, role: str
    ) -> Credentials | None:
        """Return credentials from the secrets or the CI job's identity; None: boto3 finds them."""
        if self.aws_access_key_id and self.aws_secret_access_key:
            token = self.aws_session_token
            return await credentials.from_secrets(
                self.aws_access_key_id, self.aws_secret_access_key, token
            )
        if self.oidc_request_url and self.oidc_request_token:
            job = credentials.Job(url=self.oidc_request_url, token=self.oidc_request_token)
            return await job.credentials(config, environment, role, self.endpoint)
        return None

    async def _check(self, checks: Sequence[str], *, audit_required: bool) -> str:
        gates: dict[str, Callable[[], Awaitable[str]]] = {}
        if set(checks) & set(configuration.TESTS):
            gates["test"] = lambda: self._tests(checks)  # takes the longest, so it goes first
        if "lint" in checks:
            gates["lint"] = self.lint
        if "typecheck" in checks:
            gates["typecheck"] = self.typecheck
        if "security" in checks:
            gates["security"] = lambda: self.security(audit_required)
        return "\n".join((await run_all(gates)).values())

    async def _tests(self, checks: Sequence[str]) -> str:
        config = await self._config()
        parts = await quality.test_parts(self.source, config.agents, checks)
        return await quality.tests(self.source, config.project.base_image, parts)

    async def _check_and_build(
        self, config: Config, checks: Sequence[str], *, audit_required: bool
    ) -> list[Built]:
        """Run the gates and the build in parallel, both to the end; raises for either's failure."""

        async def check() -> list[Built]:
            await self._check(checks, audit_required=audit_required)
            return []

        done = await run_all(
            {"check": check, "build": lambda: images.build(self.source, config, config.agents)}
        )
        return done["build"]


def _rendered(result: CommandResult, form: Format, *, exit_code: int = 0) -> str:
    return rendered(result, as_json=form is Format.JSON, exit_code=exit_code)
