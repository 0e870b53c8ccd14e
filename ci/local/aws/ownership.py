"""Keep the containers of instances and of other users apart; always applied, even if `plain`."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from ci.common import owners
from ci.local import paths
from ci.local.aws.patching import replace


def apply() -> None:
    """Label every container with instance and owner; never remove containers without the labels.

    When ministack starts, it removes containers of any ministack that have no owner label. On a
    shared machine they may belong to somebody else.
    """
    from ministack.core import container_reaper

    replace(container_reaper, "own_labels", _labelled)
    replace(container_reaper, "reap_all", _only_own)


@cache
def labels() -> dict[str, str]:
    """Return the labels of what this process creates: instance, state folder and owner."""
    return {
        paths.INSTANCE_LABEL: os.environ["ACSO_INSTANCE"],
        paths.STATE_LABEL: os.environ["ACSO_STATE"],
        paths.OWNER_LABEL: owners.owner_name(),
    }


def _labelled(original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    return lambda service, **extra: original(service, **extra) | labels()


def _only_own(original: Callable[..., int]) -> Callable[..., int]:
    def reap_all(client: Any, **options: Any) -> int:
        return original(client, **options | {"include_unlabelled": False})

    return reap_all
