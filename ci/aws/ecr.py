"""Amazon ECR: where images are pushed, with what login, and which are there."""

import base64
from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError

ABSENT = ("ImageNotFoundException", "RepositoryNotFoundException")


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to push to a registry: its host, a user, and a password that nobody sees."""

    host: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(host={self.host!r}, username={self.username!r}, password='***')"


async def host(aws: Aws) -> str:
    """Return the registry's host: the one given for the endpoint, else the account's own."""
    if aws.registry:
        return aws.registry
    return f"{await aws.account()}.dkr.ecr.{aws.region}.amazonaws.com"


async def login(aws: Aws) -> Login:
    """Return a login for the registry, good for twelve hours."""
    answer = await aws.call("ecr", "get_authorization_token")
    token = answer["authorizationData"][0]["authorizationToken"]
    username, _, password = base64.b64decode(token).decode().partition(":")
    return Login(host=await host(aws), username=username, password=password)


async def digest(aws: Aws, repository: str, tag: str) -> str | None:
    """Return the digest of a tagged image; None if repository or tag is not there."""
    return await _digest(aws, repository, {"imageTag": tag})


async def has(aws: Aws, repository: str, digest: str) -> bool:
    """Tell whether a repository holds the image of this digest."""
    return await _digest(aws, repository, {"imageDigest": digest}) is not None


async def _digest(aws: Aws, repository: str, image: dict[str, str]) -> str | None:
    try:
        answer = await aws.call(
            "ecr", "describe_images", repositoryName=repository, imageIds=[image]
        )
    except AwsError as error:
        if error.code in ABSENT:
            return None
        raise
    return next((str(item["imageDigest"]) for item in answer["imageDetails"]), None)
