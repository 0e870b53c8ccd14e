"""Access to AWS: clients, calls in worker threads, and errors as `AwsError`.

boto3 is imported late, because that takes a quarter of a second, which `--help` does not need.
"""

import os
import random
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, TypeVar

import anyio
import anyio.from_thread

from ci.aws.failures import failure, throttled
from ci.config import Environment
from ci.errors import AwsError, WrongAccountError

#: The account id of the embedded AWS.
EMBEDDED_ACCOUNT = "000000000000"
CALLS = 16  # boto3 calls at a time, few enough not to be throttled
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 60  # seconds
#: Services whose calls must not delay anything: one attempt, with a short timeout.
QUICK_SERVICES = frozenset({"sns"})
QUICK_TIMEOUT = 3
#: Seconds for which a throttled call is repeated after all of botocore's own attempts, which end
#: after some 15 s. ECS refills its buckets of requests at one a second or more.
#: Source: Amazon ECS API Reference, "Request throttling for the Amazon ECS API".
THROTTLE_PATIENCE = 120.0
THROTTLE_PAUSES = (2.0, 10.0)  # seconds: the first pause, and the longest
#: Pages of one answer that are read at most; an account has no list that is longer.
MAX_PAGES = 1000
#: Code of the error of an answer that has more pages.
ENDLESS = "EndlessPages"
T = TypeVar("T")
_creation = threading.Lock()  # of clients, which is not thread-safe


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """AWS credentials, given by the user or by STS; secrets are not in their representation."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Aws:
    """One account and region, at AWS or at another endpoint.

    `endpoint` is the only switch to an emulator; `registry` and `load_balancer` (a URL pattern with
    {name}) locate its registry and load balancers. Without credentials, boto3 uses its default
    provider chain.
    """

    region: str
    endpoint: str | None = None
    registry: str | None = None
    load_balancer: str | None = None
    credentials: Credentials | None = None
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _quick: bool = field(default=False, repr=False, compare=False)
    _limiter: anyio.CapacityLimiter = field(
        default_factory=partial(anyio.CapacityLimiter, CALLS), repr=False, compare=False
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Secrets of the credentials, to be masked in all output."""
        keys = self.credentials
        known = [keys.secret_access_key, keys.session_token] if keys else []
        return tuple(value for value in known if value)

    def client(self, service: str) -> Any:
        """Return the cached boto3 client of a service; may be called from any thread."""
        name = f"{service} (quick)" if self._quick else service
        with _creation:
            if name not in self._clients:
                self._clients[name] = self._create_client(service)
            return self._clients[name]

    def quick(self) -> "Aws":
        """Return the same access for calls that must not delay anything: one short attempt."""
        return replace(self, _quick=True)

    def _create_client(self, service: str) -> Any:
        from botocore.config import Config

        keys = self.credentials
        brief = self._quick or service in QUICK_SERVICES
        config = Config(
            # Adaptive: the client slows down all its calls when AWS throttles.
            retries={"mode": "adaptive", "total_max_attempts": 1 if brief else 6},
            connect_timeout=QUICK_TIMEOUT if brief else CONNECT_TIMEOUT,
            read_timeout=QUICK_TIMEOUT if brief else READ_TIMEOUT,
            max_pool_connections=CALLS,
            user_agent_extra="acso",
        )
        try:
            client = _session(_environment()).create_client(
                service,
                region_name=self.region,
                endpoint_url=self.endpoint,
                aws_access_key_id=keys.access_key_id if keys else None,
                aws_secret_access_key=keys.secret_access_key if keys else None,
                aws_session_token=keys.session_token if keys else None,
                config=config,
            )
        except ValueError as error:  # also botocore's own errors of a region or setting
            message = f"the AWS settings are invalid: {error}"
            hint = "check the region in acso.toml, AWS_ENDPOINT_URL and ~/.aws/config"
            raise AwsError(message, service=service, hint=hint) from None
        client.meta.events.register("before-send", _stop_if_cancelled)
        return client

    async def call(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """Call one operation, such as ("ecs", "describe_services"); raises `AwsError`."""
        answer: dict[str, Any] = await self._run(
            service, operation, partial(_call, operation, arguments), arguments
        )
        return answer

    async def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> list[Any]:
        """Call an operation for all its pages; return the items under `key`.

        Raises:
            AwsError: AWS refused, or the pages do not end.
        """
        items: list[Any] = await self._run(
            service, operation, partial(_pages, operation, key, arguments), arguments
        )
        return items

    async def _run(
        self, service: str, operation: str, use: Any, arguments: Mapping[str, Any]
    ) -> Any:
        def run() -> Any:
            try:
                return use(self.client(service))
            except Exception as error:
                known = failure(self, service, operation, error, _secrets(self, arguments))
                if known is None:
                    raise
                raise known from None  # botocore's own text may contain secrets

        async def attempt() -> Any:
            return await anyio.to_thread.run_sync(
                run, limiter=self._limiter, abandon_on_cancel=False
            )

        return await (attempt() if self._quick else while_throttled(attempt))

    async def account(self) -> str:
        """Return the account that the credentials belong to."""
        return str((await self.call("sts", "get_caller_identity"))["Account"])


async def while_throttled(attempt: Callable[[], Awaitable[T]]) -> T:
    """Make a call, again and again while AWS throttles it; raises after `THROTTLE_PATIENCE`.

    A throttled call has changed nothing, so that any may be repeated.
    """
    began, (pause, longest) = anyio.current_time(), THROTTLE_PAUSES
    while True:
        try:
            return await attempt()
        except AwsError as error:
            over = anyio.current_time() - began + pause > THROTTLE_PATIENCE
            if over or not throttled(error):
                raise
        await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (no secret)
        pause = min(2 * pause, longest)


def expected_account(environment: Environment, endpoint: str | None) -> str:
    """Return the account that an environment is in; at another endpoint, the embedded AWS's own.

    Raises:
        WrongAccountError: acso.toml names none, and AWS's own endpoint is used.
    """
    if environment.account is None and endpoint is None:
        message = f"environment {environment.name} has no account in acso.toml"
        hint = f'add account = "..." to [environments.{environment.name}], or use --aws local'
        raise WrongAccountError(message, hint=hint)
    return environment.account or EMBEDDED_ACCOUNT


async def check_account(aws: Aws, environment: Environment) -> Environment:
    """Compare account and region with acso.toml before anything is changed.

    Returns:
        The environment, in the account of the credentials: on the embedded AWS its own.

    Raises:
        WrongAccountError: the credentials are another account's, or acso.toml names none.
    """
    expected = expected_account(environment, aws.endpoint)
    if aws.region != environment.region:
        message = f"region {aws.region} is not {environment.region}, that of {environment.name}"
        raise WrongAccountError(message)
    found = await aws.account()
    # The embedded account is allowed for every environment (`--aws local`).
    if found not in (expected, EMBEDDED_ACCOUNT):
        meant = f"is {environment.account}" if environment.account else "has no account"
        message = (
            f"the credentials are of account {found}, but {environment.name} {meant} in acso.toml"
        )
        raise WrongAccountError(message, hint="use that account's credentials; nothing was changed")
    return replace(environment, account=found)


async def assume_with_token(
    role: str, token: str, *, region: str, endpoint: str | None = None, name: str = "acso"
) -> Credentials:
    """Exchange an OIDC identity token for temporary credentials of a role, valid for an hour.

    Args:
        role: the role's ARN.
        token: the identity token; it is sent to AWS only.
        region: region of the STS endpoint.
        endpoint: an endpoint to use instead of AWS's.
        name: session name, as CloudTrail shows it.
    """
    # The call is not signed, but boto3 requires credentials nevertheless.
    unsigned = Credentials(access_key_id="unsigned", secret_access_key="unsigned")  # noqa: S106
    aws = Aws(region=region, endpoint=endpoint, credentials=unsigned)
    answer = await aws.call(
        "sts",
        "assume_role_with_web_identity",
        RoleArn=role,
        RoleSessionName=name,
        WebIdentityToken=token,
    )
    keys = answer["Credentials"]
    return Credentials(
        access_key_id=keys["AccessKeyId"],
        secret_access_key=keys["SecretAccessKey"],
        session_token=keys["SessionToken"],
    )


async def assume(aws: Aws, role: str, *, name: str) -> Aws:
    """Return AWS access as a role, valid for 15 minutes (the minimum of STS).

    Raises:
        AwsError: the caller may not assume the role, or the role does not trust the caller.
    """
    answer = await aws.call(
        "sts", "assume_role", RoleArn=role, RoleSessionName=name, DurationSeconds=900
    )
    keys = answer["Credentials"]
    return Aws(
        region=aws.region,
        endpoint=aws.endpoint,
        registry=aws.registry,
        load_balancer=aws.load_balancer,
        credentials=Credentials(
            access_key_id=keys["AccessKeyId"],
            secret_access_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
        ),
    )


def _environment() -> tuple[tuple[str, str], ...]:
    """Return the environment variables that botocore reads."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))


@cache
def _session(_: tuple[tuple[str, str], ...]) -> Any:
    """Return botocore's session: one per process and environment.

    A session caches the credentials that it was given for a profile. With one for each client, a
    profile with MFA would ask for a code for each AWS service, and a code is accepted once.
    """
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", loader())
    return session


@cache
def loader() -> Any:
    """Return the loader of service models; one per process, because loading takes 0.1 s."""
    from botocore.loaders import Loader

    return Loader()


def _stop_if_cancelled(**_: Any) -> None:
    """Make no further attempt of a call that is cancelled: its process may have lost the lock.

    botocore would repeat it for most of a minute, and the last attempt might change something.
    """
    with suppress(anyio.NoEventLoopError):  # not in a worker thread: nothing can be cancelled
        anyio.from_thread.check_cancelled()


def _call(operation: str, arguments: dict[str, Any], client: Any) -> Any:
    return getattr(client, operation)(**arguments)


def _pages(operation: str, key: str, arguments: dict[str, Any], client: Any) -> list[Any]:
    items: list[Any] = []
    for number, page in enumerate(client.get_paginator(operation).paginate(**arguments)):
        if number >= MAX_PAGES:
            service = client.meta.service_model.service_name
            message = f"{service} {operation}: the answer does not end after {MAX_PAGES} pages"
            raise AwsError(message, service=service, operation=operation, code=ENDLESS)
        items += page.get(key, [])
    return items


def _secrets(aws: Aws, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts to mask in errors: AWS may quote the arguments of a call."""
    tokens = (value for name, value in arguments.items() if name.endswith("IdentityToken"))
    return (*aws.secrets, *(value for value in tokens if value))
