"""ECR's repositories, CloudWatch Logs, target groups and STS, as far as a release reads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.release.badday.timeline import RefusedError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Ecr:
    """Repositories: the tags of each digest. Source: Amazon ECR API Reference."""

    repositories: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        if request["repositoryName"] not in self.repositories:
            raise RefusedError("RepositoryNotFoundException", "The repository does not exist")
        images = self.repositories[request["repositoryName"]]
        answer: dict[str, Any] = getattr(self, f"_{operation}")(images, request)
        return answer

    def _find(self, images: dict[str, set[str]], id_: Mapping[str, str]) -> str | None:
        for digest, tags in images.items():
            if id_.get("imageDigest", digest) == digest and (
                "imageTag" not in id_ or id_["imageTag"] in tags
            ):
                return digest
        return None

    def _describe_images(
        self, images: dict[str, set[str]], request: Mapping[str, Any]
    ) -> dict[str, Any]:
        found = []
        for id_ in request["imageIds"]:
            digest = self._find(images, id_)
            if digest is None:
                raise RefusedError("ImageNotFoundException", f"The image {id_} does not exist")
            found.append({"imageDigest": digest, "imageTags": sorted(images[digest])})
        return {"imageDetails": found}

    def _batch_get_image(
        self, images: dict[str, set[str]], request: Mapping[str, Any]
    ) -> dict[str, Any]:
        found, failures = [], []
        for id_ in request["imageIds"]:
            digest = self._find(images, id_)
            if digest is None:
                failures.append({"imageId": id_, "failureCode": "ImageNotFound"})
                continue
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "of": digest}
            image = {"imageId": {"imageDigest": digest}, "imageManifest": json.dumps(manifest)}
            found.append({**image, "imageManifestMediaType": MANIFEST})
        return {"images": found, "failures": failures}

    def _put_image(self, images: dict[str, set[str]], request: Mapping[str, Any]) -> dict[str, Any]:
        digest, tag = request["imageDigest"], request["imageTag"]
        if json.loads(request["imageManifest"])["of"] != digest or digest not in images:
            raise RefusedError("ImageDigestDoesNotMatchException", "another image's manifest")
        if tag in images[digest]:
            raise RefusedError("ImageAlreadyExistsException", "the image has this tag already")
        if any(tag in tags for tags in images.values()):
            raise RefusedError("ImageTagAlreadyExistsException", "the tag is immutable")
        images[digest].add(tag)
        return {"image": {"imageId": {"imageDigest": digest, "imageTag": tag}}}

    def _batch_delete_image(
        self, images: dict[str, set[str]], request: Mapping[str, Any]
    ) -> dict[str, Any]:
        removed, failures = [], []
        for id_ in request["imageIds"]:
            digest = self._find(images, id_)
            if digest is None:
                failures.append({"imageId": id_, "failureCode": "ImageNotFound"})
                continue
            images[digest].discard(id_.get("imageTag", ""))
            removed.append({**id_, "imageDigest": digest})
            if not images[digest] or "imageTag" not in id_:
                del images[digest]
        return {"imageIds": removed, "failures": failures}


@dataclass
class Logs:
    """Log groups whose streams do not exist yet: tasks of the model write no lines."""

    groups: set[str] = field(default_factory=set)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        if operation == "describe_log_groups":
            prefix = request["logGroupNamePrefix"]
            named = sorted(name for name in self.groups if name.startswith(prefix))
            return {"logGroups": [{"logGroupName": name} for name in named]}
        if request["logGroupName"] not in self.groups:
            raise RefusedError("ResourceNotFoundException", "The log group does not exist.")
        if operation == "get_log_events":
            raise RefusedError("ResourceNotFoundException", "The log stream does not exist.")
        return {"events": []}
