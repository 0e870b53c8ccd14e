"""Whose containers are whose: applied always, corrections or not."""

import os
from collections.abc import Callable
from typing import Any

from ci.local import paths
from ci.local.aws.hook import replace


def apply() -> None:
    """Mark every container as this instance's, and never sweep one that carries no mark.

    At its start ministack removes containers of its own kind that name no owner: on a shared
    machine those may be somebody else's.
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
