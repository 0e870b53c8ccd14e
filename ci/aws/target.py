"""Where a command acts: one environment of acso.toml, in one AWS account and region."""

from dataclasses import dataclass

from ci.aws.session import Aws
from ci.config import Config, Environment


@dataclass(frozen=True, kw_only=True)
class Target:
    """AWS access, the whole configuration, and the environment of it that a command acts on.

    Created once for each command and passed down. `ci.release.ReleaseContext` adds the outputs of a
    deployed environment's infrastructure.
    """

    aws: Aws
    config: Config
    env: Environment
