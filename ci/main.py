"""The pipeline as a Dagger module: every function a user can call.

`dagger call NAME` runs them inside a Dagger engine, `./acso NAME` in its own process; the
docstrings are the help of both.
"""

import datetime
from dataclasses import replace
from functools import partial
from typing import Annotated

import dagger
from dagger import DefaultPath, Doc, Ignore, function, object_type

import validation
from ci import config as configuration
from ci import release
from ci.aws.session import Aws, Credentials, check_account
from ci.config import Config, Environment
from ci.errors import UsageError, ValidationError
from ci.pipeline import credentials, environments, images, preview
from ci.pipeline.decorators import anew, judges, once
from ci.pipeline.releasing import Attended
from ci.pipeline.types import Actor, As, AuditRequired, Cancelled, Env, Format, OnCancel, Wait
from ci.release.observe import logs as lines
from ci.release.records.history import history as listed
from ci.release.records.history import recall
from ci.report.progress import stage
from ci.report.result import Told, written
from ci.stages import quality
from ci.stages.base import IGNORE
from ci.stages.build import Built
from ci.stages.running import gate, together


@object_type
class Acso:
    """Take the ACSO agents from a commit to a validated release, and back when it fails.

    `check` judges the source, `deploy` does everything up to a validated environment, `rollback`
    returns to the release before. Start with `plan --env development`: it changes nothing.
    """

    source: Annotated[
        dagger.Directory, DefaultPath("/"), Ignore(IGNORE), Doc("The repository to work on.")
    ]
    endpoint: Annotated[str | None, Doc("AWS endpoint to use instead of AWS itself.")] = None
    registry: Annotated[str | None, Doc("Registry host instead of the account's own.")] = None
    load_balancer: Annotated[
        str | None, Doc("URL pattern of load balancers, with {name}, instead of their DNS names.")
    ] = None
    aws_access_key_id: Annotated[dagger.Secret | None, Doc("AWS access key, where needed.")] = None
    aws_secret_access_key: Annotated[dagger.Secret | None, Doc("Its secret.")] = None
    aws_session_token: Annotated[dagger.Secret | None, Doc("Its session token.")] = None
    oidc_request_url: Annotated[
        dagger.Secret | None, Doc("Where the CI system gives out identity tokens.")
    ] = None
    oidc_request_token: Annotated[dagger.Secret | None, Doc("The right to ask for one.")] = None
    webhook: Annotated[
        dagger.Secret | None, Doc("URL that is told of releases, as Slack's webhooks take it.")
    ] = None

    @function
    @judges
    async def lint(self) -> str:
        """Check style, formatting and who imports whom (ruff, import-linter)."""
        image = (await self._config()).project.base_image
        return await gate("lint", lambda: quality.lint(self.source, image))

    @function
    @judges
    async def typecheck(self) -> str:
        """Check types in strict mode, tests included (mypy)."""
        image = (await self._config()).project.base_image
        return await gate("typecheck", lambda: quality.typecheck(self.source, image))

    @once
    @judges
    async def security(self, audit_required: AuditRequired = False) -> str:
        """Look for insecure code, committed secrets and vulnerable packages."""
        image = (await self._config()).project.base_image
        today = datetime.datetime.now(datetime.UTC).date().isoformat()

        async def packages() -> str:
            return await quality.vulnerable_packages(
                self.source, image, today=today, required=audit_required
            )

        lines = await together(
            {
                "code": lambda: gate("code", lambda: quality.insecure_code(self.source, image)),
                "secrets": lambda: gate(
                    "secrets", lambda: quality.committed_secrets(self.source, image)
                ),
                "packages": lambda: gate("packages", packages),
            }
        )
        return "\n".join(lines.values())

    @function
    @judges
    async def test(self) -> str:
        """Run the fast tests; 80 % of the code that needs no containers must be covered."""
        image = (await self._config()).project.base_image
        parts = {
            about: partial(gate, f"test {about}", partial(quality.test, self.source, image, about))
            for about in quality.TESTS
        }
        lines = await together(parts)
        return "\n".join(lines.values())

    @once
    async def check(self, audit_required: AuditRequired = False) -> str:
        """Run every quality gate in parallel: lint, typecheck, security, test.

        All of them run to their end, so that one call shows all there is to mend.
        """
        lines = await together(
            {
                "test": self.test,  # takes the longest, so it goes first
                "lint": self.lint,
                "typecheck": self.typecheck,
                "security": lambda: self.security(audit_required),
            }
        )
        return "\n".join(lines.values())

    @function
    async def build(
        self, agent: Annotated[str | None, Doc("Only this agent; default: all of them.")] = None
    ) -> str:
        """Build the agents' images and tell the content version of each."""
        config = await self._config()
        built = await images.build(
            self.source, config, (config.agent(agent),) if agent else config.agents
        )
        return "\n".join(f"{item.agent} {item.version}" for item in built)

    @anew
    async def publish(self, env: Env) -> str:
        """Push the images that the registry lacks; tell every agent's reference by digest."""
        config, _, aws = await self._open(env)
        built = await images.build(self.source, config, config.agents)
        pushed = await images.push(aws, config, built)
        return "\n".join(image.reference for image in pushed)

    @anew
    async def plan(self, env: Env, format: As = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Tell what a deploy would change, service by service; nothing is touched.

        The exit code of `acso plan` is 0 if nothing would change and 2 if something would (as for
        wrong usage, which says so); `dagger call` knows only 0. The JSON document is what
        `deploy --plan` takes: `acso plan --output FILE`, `dagger call plan --format json -o FILE`.
        """
        config, environment, aws = await self._open(env)
        built = await images.build(self.source, config, config.agents)
        async with stage("plan"):
            found = await preview.preview(aws, config, environment, built)
        return _written(found, format, exit_code=found.exit_code)

    @anew
    async def deploy(  # noqa: PLR0913, PLR0917 (its flags)
        self,
        env: Env,
        commit: Annotated[str, Doc("Commit that the source is of, for the record.")] = "",
        branch: Annotated[str, Doc("Its branch or tag, for the record.")] = "",
        actor: Actor = "",
        dirty: Annotated[bool, Doc("The source has uncommitted changes.")] = False,
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        plan: Annotated[
            dagger.File | None, Doc("JSON document of `plan`: refuse if it holds no more.")
        ] = None,
        dry_run: Annotated[bool, Doc("Only plan: the same text and exit code as `plan`.")] = False,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Check and build side by side, then infrastructure, push, rollout and validation.

        Unchanged agents are not touched. A release that fails is rolled back as a whole; the
        exit code is 0 only if every agent runs, and answers as, what was deployed.
        """
        if dry_run:
            return await self.plan(env, format)
        config, environment, aws = await self._open(env)
        if dirty and environment.name != "development":
            message = f"the source has uncommitted changes, which {env} does not take"
            raise UsageError(message, hint="commit them, or deploy to development")
        promised = preview.parse(await plan.contents(), environment.name) if plan else None
        attended = await self._attended(wait, on_cancel)
        async with stage("preconditions") as span:
            if promised:
                await preview.hold_standing(promised, aws, config, environment)
            if not wait:
                await environments.free(aws, config, environment, span.say)
        built = await self._checked_build(config, audit_required=aws.endpoint is None)
        if promised:
            await preview.hold(promised, aws, config, environment, built)
        place = await environments.applied(aws, config, environment)
        pushed = await images.push(aws, config, built)
        await environments.verified(place, pushed)
        request = release.Request(commit=commit, branch=branch, actor=actor, dirty=dirty)
        seen = promised.seen if promised else None
        return _written(await attended.deploy(place, pushed, request, seen), format)

    @anew
    async def promote(  # noqa: PLR0913, PLR0917 (its flags)
        self,
        from_: Annotated[str, Doc("Environment that has validated what is released.")],
        env: Annotated[str, Doc("Environment that it is released to.")],
        release_: Annotated[
            str | None, Doc("Which of its releases; default: the last validated one.")
        ] = None,
        actor: Actor = "",
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Release to one environment what another has validated: the same digests, nothing rebuilt.

        Refused if that release did not pass validation there. What differs between the
        environments in acso.toml, such as sizes and counts, is the target's own.
        """
        if from_ == env:
            message = f"{env} cannot be promoted to itself"
            raise UsageError(message, hint=f"name another environment than {env} with --from")
        config, environment, aws = await self._open(env)
        source = await self.place(from_)
        attended = await self._attended(wait, on_cancel)
        async with stage("preconditions") as span:
            found = await release.promotion(source, release_, aws, environment)
            span.result = found.request.promoted_from
            if not wait:
                await environments.free(aws, config, environment, span.say)
        place = await environments.applied(aws, config, environment)
        await environments.verified(place, found.images)
        request = replace(found.request, actor=actor)
        return _written(await attended.deploy(place, found.images, request), format)

    @anew
    async def verify(self, env: Env, format: As = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Look whether an environment has all that a release needs; nothing is touched.

        Account and region, images, roles and what they may do, network, target groups, logs: every
        problem is told, with the resource, the action that lacks and the fix. `deploy` does the
        same with the images that it brings, before it changes a service.
        """
        place = await self.place(env)
        return _written(await environments.verified(place, await release.running(place)), format)

    @anew
    async def validate(
        self,
        env: Env,
        suite: Annotated[str, Doc("Which checks: smoke.")] = "smoke",
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Check a running environment; fails unless every check could look and passed."""
        place = await self.place(env)
        async with stage("validation") as span:
            report = await validation.run(
                suite, place.aws, place.config, place.env, place.outputs.url
            )
            span.result = report.summary()
            if not report.ok:
                raise ValidationError(report.text(), hint=f"acso status --env {env}")
        return _written(report, format)

    @anew
    async def rollback(
        self,
        env: Env,
        to: Annotated[
            str | None,
            Doc(
                "Release to return to, or a revision (acso-staging-supervisor:12) or digest "
                "(sha256:...) of one; default: the last validated."
            ),
        ] = None,
        actor: Actor = "",
        wait: Wait = 0,
        on_cancel: Cancelled = OnCancel.KEEP,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Return every service to the last validated release before this one, and verify it."""
        attended = await self._attended(wait, on_cancel)
        place = await self.place(env)
        outcome = await attended.rollback(place, to, release.Request(actor=actor))
        return _written(outcome, format)

    @anew
    async def status(self, env: Env, format: As = Format.TEXT) -> str:  # noqa: A002 (the flag)
        """Tell what runs, of which release, and whether it is what the record says."""
        return _written(await release.status(await self.place(env)), format)

    @anew
    async def logs(
        self,
        env: Env,
        agent: Annotated[list[str] | None, Doc("Only these agents; default: all.")] = None,
        since: Annotated[str, Doc("A time, or how long ago: 30s, 10m, 2h (default: 10m).")] = "",
        release: Annotated[str, Doc("Only what this release's tasks wrote in its time.")] = "",
        grep: Annotated[str, Doc("Only lines that match this regular expression.")] = "",
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Tell what the agents wrote, all of them interleaved by time.

        As JSON it is an object a line. The command line writes lines as they come with --follow.
        """
        query = lines.Query(agents=tuple(agent or ()), since=since, release=release, grep=grep)
        place = await self.place(env)
        return await lines.written(place, query, as_json=format is Format.JSON)

    @anew
    async def run_task(
        self,
        env: Env,
        agent: Annotated[str, Doc("Whose image, permissions, size and network.")],
        args: Annotated[list[str], Doc("The command (--args); on the command line behind --.")],
        seconds: Annotated[int, Doc("How long it may take.")] = 3600,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Run a command once, in a task of its own, as an agent's service would; tell its log.

        The command line shows the log as it comes and ends with the command's own exit code.
        """
        place = await self.place(env)
        async with stage("task") as span:
            ran = await release.run_task(
                place, agent, args, tell=span.say, say=span.say, seconds=seconds
            )
            ran.raise_for_failure()
        return _written(ran, format)

    @anew
    async def history(
        self,
        env: Env,
        release: Annotated[str | None, Doc("One release to show as a whole.")] = None,
        limit: Annotated[int, Doc("How many releases to list at most.")] = 20,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """List the releases of an environment, or show one: steps, services, failures."""
        place = await self.place(env)
        told: Told = await (recall(place, release) if release else listed(place, limit=limit))
        return _written(told, format)

    @anew
    async def unlock(
        self,
        env: Env,
        force: Annotated[bool, Doc("Break it although its holder is alive.")] = False,
        format: As = Format.TEXT,  # noqa: A002 (the flag)
    ) -> str:
        """Break the lock that a dead process left; refuses while its holder may be alive."""
        return _written(await release.unlock(await self.place(env), force=force), format)

    @anew
    async def pipeline(
        self,
        event: Annotated[str, Doc("What happened: push, pull_request or release.")],
        ref: Annotated[str, Doc("The full ref it happened to, such as refs/heads/main.")],
        commit: Annotated[str, Doc("Commit that the source is of.")] = "",
        actor: Annotated[str, Doc("Who caused it.")] = "",
    ) -> str:
        """Do what an event of the repository asks for: what CI calls.

        A push to an environment's branch and a published release deploy that environment; any
        other event checks and builds.
        """
        config = await self._config()
        environment = config.released_by(event, ref)
        if environment is None:
            built = await self._checked_build(config, audit_required=False)
            return "\n".join(f"{item.agent} {item.version}" for item in built)
        return await self.deploy(environment.name, commit=commit, branch=ref, actor=actor)

    async def _config(self) -> Config:
        """Read acso.toml from the source, not from beside this file: the source is what counts."""
        return configuration.parse(await self.source.file(configuration.FILE).contents())

    async def _open(self, env: str) -> tuple[Config, Environment, Aws]:
        """Return the configuration, the environment and the AWS it is in, the right account's."""
        config = await self._config()
        environment = config.environment(env)
        aws = await self._aws(environment)
        await check_account(aws, environment)
        return config, environment, aws

    async def place(self, env: str) -> release.Place:
        """Return an environment whose infrastructure stands; raises where it was never applied.

        No function of the module: what the command line adds starts from it.
        """
        config, environment, aws = await self._open(env)
        return await environments.standing(aws, config, environment)

    async def _attended(self, wait: int, on_cancel: OnCancel) -> Attended:
        webhook = await credentials.webhook(self.webhook)
        return Attended(wait=wait, on_cancel=on_cancel, webhook=webhook)

    async def _aws(self, environment: Environment) -> Aws:
        return Aws(
            region=environment.region,
            endpoint=self.endpoint,
            registry=self.registry,
            load_balancer=self.load_balancer,
            credentials=await self._credentials(environment),
        )

    async def _credentials(self, environment: Environment) -> Credentials | None:
        """Return keys given as secrets, or lent for a CI run's identity; None: boto3's own."""
        if self.aws_access_key_id and self.aws_secret_access_key:
            token = self.aws_session_token
            return await credentials.given(
                self.aws_access_key_id, self.aws_secret_access_key, token
            )
        if self.oidc_request_url and self.oidc_request_token:
            url, right = self.oidc_request_url, self.oidc_request_token
            return await credentials.lent(environment, url, right, self.endpoint)
        return None

    async def _checked_build(self, config: Config, *, audit_required: bool) -> list[Built]:
        """Run the gates beside the build; both end before either's failure is told."""

        async def check() -> list[Built]:
            await self.check(audit_required)
            return []

        done = await together(
            {"check": check, "build": lambda: images.build(self.source, config, config.agents)}
        )
        return done["build"]


def _written(told: Told, form: Format, *, exit_code: int = 0) -> str:
    return written(told, as_json=form is Format.JSON, exit_code=exit_code)
