"""acso.toml: agents, environments, and the AWS names derived from them.

An invalid file is one `ConfigError`: the file, the key and, for an unknown key, the nearest valid
name.
"""

from ci.config.agents import Agent, Scaling, Size, Task
from ci.config.checks import FARGATE, PLATFORMS, STRATEGIES
from ci.config.environments import (
    CHECKS,
    PROTECTED,
    TESTS,
    Environment,
    LoadBalancer,
    Network,
)
from ci.config.model import Config, Project
from ci.config.parsing import FILE, load, parse
from ci.config.settings import nearest, similar
from ci.config.validating import SUITES, Accepted, Thresholds
from ci.config.variables import SECRET_VALUE

__all__ = [
    "CHECKS",
    "FARGATE",
    "FILE",
    "PLATFORMS",
    "PROTECTED",
    "SECRET_VALUE",
    "STRATEGIES",
    "SUITES",
    "TESTS",
    "Accepted",
    "Agent",
    "Config",
    "Environment",
    "LoadBalancer",
    "Network",
    "Project",
    "Scaling",
    "Size",
    "Task",
    "Thresholds",
    "load",
    "nearest",
    "parse",
    "similar",
]
