"""Amazon ECR: the registry's host, its login, and its images."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws import elb, partitions
from ci.aws.session import Aws
from ci.errors import AwsError

ABSENT = ("ImageNotFoundException", "RepositoryNotFoundException")
#: Accepted media types; ECR returns the manifest as it is if its type is among them.
MANIFESTS = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]
#: Codes of PutImage for a tag that exists.
TAGGED = ("ImageAlreadyExistsException", "ImageTagAlreadyExistsException")
DELETED_IMAGES = 100  # at most, in one BatchDeleteImage
BLOB_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Login:
    """A registry's login; the password is not in its representation."""

    host: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(host={self.host!r}, username={self.username!r}, password='***')"


async def host(aws: Aws) -> str:
    """Return the registry's host: the one set for the endpoint, otherwise the account's."""
    if aws.registry:
        return aws.registry
    return f"{await aws.account()}.dkr.ecr.{aws.region}.{partitions.domain(aws.region)}"


async def login(aws: Aws) -> Login:
    """Return a login for the registry, valid for twelve hours."""
    answer = await aws.call("ecr", "get_authorization_token")
    token = answer["authorizationData"][0]["authorizationToken"]
    username, _, password = base64.b64decode(token).decode().partition(":")
    return Login(host=await host(aws), username=username, password=password)


async def digest(aws: Aws, repository: str, tag: str) -> str | None:
    """Return the digest of a tagged image; None if repository or tag does not exist."""
    return await _digest(aws, repository, {"imageTag": tag})


async def has(aws: Aws, repository: str, digest: str) -> bool:
    """Return whether a repository holds the image of this digest."""
    return await _digest(aws, repository, {"imageDigest": digest}) is not None


async def tag(aws: Aws, repository: str, digest: str, name: str) -> None:
    """Add a tag to an image; does nothing if the image has it already.

    Raises:
        AwsError: AWS refused, or the repository does not hold the image.
    """
    if await _digest(aws, repository, {"imageTag": name}) == digest:
        return
    found = await _manifest(aws, repository, digest)
    if found is None:
        message = f"ecr: {repository} does not hold {digest}"
        raise AwsError(message, service="ecr", operation="batch_get_image")
    known = {key: found[key] for key in ("imageManifest", "imageManifestMediaType") if key in found}
    request = {"repositoryName": repository, "imageTag": name, "imageDigest": digest}
    try:
        await aws.call("ecr", "put_image", **request, **known)
    except AwsError as error:
        if error.code not in TAGGED:  # by another process meanwhile
            raise


async def untag(aws: Aws, repository: str, names: Sequence[str]) -> None:
    """Remove tags; an image that has another tag stays. No error if a tag does not exist."""
    for start in range(0, len(names), DELETED_IMAGES):
        batch = [{"imageTag": name} for name in names[start : start + DELETED_IMAGES]]
        try:
            await aws.call("ecr", "batch_delete_image", repositoryName=repository, imageIds=batch)
        except AwsError as error:
            if error.code not in ABSENT:
                raise


async def platforms(aws: Aws, repository: str, digest: str) -> tuple[str, ...] | None:
    """Return an image's platforms, such as `linux/amd64`; None if it does not exist.

    An index lists its platforms; a single image has its own in its configuration.

    Raises:
        AwsError: AWS refused, or the configuration could not be read.
    """
    try:
        found = await _manifest(aws, repository, digest)
    except AwsError as error:
        if error.code in ABSENT:
            return None
        raise
    if found is None:
        return None
    manifest = json.loads(found["imageManifest"])
    if "manifests" in manifest:
        # An index also lists attestations, with the platform unknown/unknown.
        listed = (_platform(item.get("platform", {})) for item in manifest["manifests"])
        return tuple(item for item in listed if not item.startswith("unknown"))
    return (_platform(await _configuration(aws, repository, manifest["config"]["digest"])),)


async def _manifest(aws: Aws, repository: str, digest: str) -> Mapping[str, Any] | None:
    """Return the `imageManifest` of a digest and its media type; None if the image is missing."""
    answer = await aws.call(
        "ecr",
        "batch_get_image",
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
        acceptedMediaTypes=MANIFESTS,
    )
    return answer["images"][0] if answer["images"] else None


async def _configuration(aws: Aws, repository: str, digest: str) -> Mapping[str, Any]:
    """Return an image's configuration by the configuration's digest."""
    if aws.endpoint:
        # An emulator's download URLs have AWS's host names; its endpoint serves the blobs. Not
        # `aws.registry`: that is the engine's name of it, which may not resolve in `dagger call`.
        url = f"{aws.endpoint.rstrip('/')}/v2/{repository}/blobs/{digest}"
    else:
        answer = await aws.call(
            "ecr", "get_download_url_for_layer", repositoryName=repository, layerDigest=digest
        )
        url = str(answer["downloadUrl"])
    got = await elb.get(url, seconds=BLOB_TIMEOUT)
    if got.status != 200 or "architecture" not in got.body:
        # Without the URL: it is signed, so anyone who has it can read the blob.
        message = f"ecr: the configuration {digest} in {repository} cannot be read: {got}"
        raise AwsError(message, service="ecr", operation="get_download_url_for_layer")
    return got.body


def _platform(data: Mapping[str, Any]) -> str:
    return f"{data.get('os', 'unknown')}/{data.get('architecture', 'unknown')}"


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
