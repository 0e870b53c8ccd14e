"""What several functions of `Acso` take: the types of arguments, with their help."""

import enum
from typing import Annotated

import dagger
from dagger import Doc


@dagger.enum_type
class Format(enum.Enum):
    """How a result is written."""

    TEXT = "text"
    JSON = "json"


@dagger.enum_type
class OnCancel(enum.Enum):
    """What becomes of a release that its user stops."""

    KEEP = "keep"
    ROLLBACK = "rollback"


Env = Annotated[str, Doc("Environment of acso.toml: development, staging or production.")]
AuditRequired = Annotated[bool, Doc("Fail if the advisory service lacks a package.")]
As = Annotated[Format, Doc("How the result is written.")]
Actor = Annotated[str, Doc("Who asks, for the record.")]
Wait = Annotated[int, Doc("Seconds to wait for another release of the environment to end.")]
Cancelled = Annotated[
    OnCancel, Doc("At Ctrl-C: keep what was done for the next deploy, or roll back.")
]
