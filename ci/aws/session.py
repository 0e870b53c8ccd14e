"""The way to AWS: clients, calls in worker threads, and their errors as sentences.

boto3 is imported late: it costs a quarter of a second, which `--help` need not pay.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import anyio

from ci.aws.failures import failure
from ci.config import Environment
from ci.errors import WrongAccountError

#: The account that the embedded AWS is.
EMBEDDED_ACCOUNT = "000000000000"
CALLS = 16  # boto3 calls at a time: more than ever wait at once, fewer than AWS throttles
CONNECT_PATIENCE, READ_PATIENCE = 5, 60  # seconds
#: Services whose calls nothing else may wait for: tried once, and given up within seconds.
BRIEF = frozenset({"sns"})
BRIEF_PATIENCE = 3


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Keys given by hand or by AWS STS; they show themselves to nobody."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Aws:
    """One account and region, reached at AWS or at another endpoint.

    `endpoint` is the only switch to an emulator; `registry` and `load_balancer` (a URL pattern with
    {name}) say where its registry and load balancers are. Without credentials, boto3 looks for
    them where it always does.
    """

    region: str
    endpoint: str | None = None
    registry: str | None = None
    load_balancer: str | None = None
    credentials: Credentials | None = None
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _limiter: anyio.CapacityLimiter = field(
        default_factory=partial(anyio.CapacityLimiter, CALLS), repr=False, compare=False
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in any text that this process writes: the secrets of its own keys."""
        keys = self.credentials
        known = [keys.secret_access_key, keys.session_token] if keys else []
        return tuple(value for value in known if value)

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service, made once; may be called from any thread."""
        with self._making:  # making a client is not thread-safe, using one is
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.session import Session

        keys = self.credentials
        core = Session()
        core.register_component("data_loader", _loader())
        session = boto3.session.Session(
            botocore_session=core,
            aws_access_key_id=keys.access_key_id if keys else None,
            aws_secret_access_key=keys.secret_access_key if keys else None,
            aws_session_token=keys.session_token if keys else None,
            region_name=self.region,
        )
        brief = service in BRIEF
        config = Config(
            # Adaptive: slows down by itself once AWS throttles, for all calls of the client.
            retries={"mode": "adaptive", "total_max_attempts": 1 if brief else 6},
            connect_timeout=BRIEF_PATIENCE if brief else CONNECT_PATIENCE,
            read_timeout=BRIEF_PATIENCE if brief else READ_PATIENCE,
            max_pool_connections=CALLS,
            user_agent_extra="acso",
        )
        return session.client(service, endpoint_url=self.endpoint, config=config)

    async def call(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """Call one operation, such as ("ecs", "describe_services"); raises `AwsError`."""
        answer: dict[str, Any] = await self._run(
            service, operation, partial(_call, operation, arguments), arguments
        )
        return answer

    async def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> list[Any]:
        """Call an operation until there are no more pages; return the items under `key`."""
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
                raise known from None  # botocore's own text may hold secrets

        return await anyio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=False)

    async def account(self) -> str:
        """Return the account that the credentials belong to."""
        return str((await self.call("sts", "get_caller_identity"))["Account"])


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


async def check_account(aws: Aws, environment: Environment) -> None:
    """Compare account and region with acso.toml before anything is changed.

    Raises:
        WrongAccountError: the credentials are another account's, or acso.toml names none.
    """
    expected = expected_account(environment, aws.endpoint)
    if aws.region != environment.region:
        message = f"region {aws.region} is not {environment.region}, that of {environment.name}"
        raise WrongAccountError(message)
    found = await aws.account()
    # An emulator is no account of anybody's: an environment put there by hand may have its own.
    if found not in (expected, EMBEDDED_ACCOUNT):
        meant = f"is {environment.account}" if environment.account else "has no account"
        message = (
            f"the credentials are of account {found}, but {environment.name} {meant} in acso.toml"
        )
        raise WrongAccountError(message, hint="use that account's credentials; nothing was changed")


async def assume_with_token(
    role: str, token: str, *, region: str, endpoint: str | None = None, name: str = "acso"
) -> Credentials:
    """Exchange an OIDC identity token for an hour's credentials of a role.

    Args:
        role: the role's ARN.
        token: the identity token; it goes to AWS and nowhere else.
        region: region of the STS endpoint.
        endpoint: another endpoint than AWS's.
        name: session name, seen in CloudTrail.
    """
    # The call is not signed, but boto3 wants to find credentials all the same.
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
    """Return the same AWS as a role sees it, for a quarter of an hour, the least AWS gives.

    Raises:
        AwsError: the role does not trust who asks, or who asks may not assume it.
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


@cache
def _loader() -> Any:
    """Return the reader of service descriptions; one a process: reading takes 0.1 s."""
    from botocore.loaders import Loader

    return Loader()


def _call(operation: str, arguments: dict[str, Any], client: Any) -> Any:
    return getattr(client, operation)(**arguments)


def _pages(operation: str, key: str, arguments: dict[str, Any], client: Any) -> list[Any]:
    pages = client.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page.get(key, [])]


def _secrets(aws: Aws, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what no message may show, though AWS quotes arguments that it does not like."""
    tokens = (value for name, value in arguments.items() if name.endswith("IdentityToken"))
    return (*aws.secrets, *(value for value in tokens if value))
