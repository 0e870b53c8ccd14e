"""Keep the containers of instances and of other users apart; always applied, even if `plain`."""

import os
from collections.abc import Callable
from typing import Any

from ci.local import paths
from ci.local.aws.patching import replace


def apply() -> None:
    """Label every container with the instance, and never remove containers without that label.

    When ministack starts, it removes containers of any ministack that have no owner label. On a
    shared machine they may belong to somebody else.
    """
    from ministack.core import container_reaper

    replace(container_reaper, "own_labels", _labelled)
    replace(container_reaper, "reap_all", _only_own)


def _labelled(original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    instance = {paths.INSTANCE_LABEL: os.environ["ACSO_INSTANCE"]}
    return lambda service, **extra: original(service, **extra) | instance


def _only_own(original: Callable[..., int]) -> Callable[..., int]:
    def reap_all(client: Any, **options: Any) -> int:
        return original(client, **options | {"include_unlabelled": False})

    return reap_all
