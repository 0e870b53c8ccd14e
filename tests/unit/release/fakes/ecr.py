"""A registry in memory: the images that task definitions name exist, unless they are lost."""

from dataclasses import dataclass, field
from typing import Any

from ci.errors import AwsError


@dataclass
class Registry:
    """Tags by repository, and the digests of images that are gone."""

    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    lost_images: set[str] = field(default_factory=set)

    def describe_images(self, repositoryName: str, imageIds: Any) -> dict[str, Any]:  # noqa: N803
        (image,) = imageIds
        known = self.tags.get(repositoryName, {})
        digest = image.get("imageDigest") or known.get(image["imageTag"])
        if digest is None or digest in self.lost_images:
            raise AwsError("no such image", code="ImageNotFoundException")
        return {"imageDetails": [{"imageDigest": digest}]}

    def batch_get_image(self, imageIds: Any, **_: Any) -> dict[str, Any]:  # noqa: N803
        (image,) = imageIds
        gone = image["imageDigest"] in self.lost_images
        found = {"imageManifest": "{}", "imageManifestMediaType": "m"}
        return {"images": [] if gone else [found], "failures": []}

    def put_image(
        self,
        repositoryName: str,  # noqa: N803
        imageTag: str,  # noqa: N803
        imageDigest: str,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        tags = self.tags.setdefault(repositoryName, {})
        if imageTag in tags:
            raise AwsError("exists", code="ImageTagAlreadyExistsException")
        tags[imageTag] = imageDigest
        return {}

    def batch_delete_image(self, repositoryName: str, imageIds: Any) -> dict[str, Any]:  # noqa: N803
        for image in imageIds:
            self.tags.get(repositoryName, {}).pop(image["imageTag"], None)
        return {"imageIds": imageIds, "failures": []}
