"""Types of the arguments that several functions of `Acso` take, with their help."""

import enum
from typing import Annotated

import dagger
from dagger import Doc


@dagger.enum_type
class Format(enum.Enum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"


@dagger.enum_type
class OnCancel(enum.Enum):
    """What happens to a release at Ctrl-C."""

    KEEP = "keep"
    ROLLBACK = "rollback"


Env = Annotated[str, Doc("Environment of acso.toml: development, staging or production.")]
AuditRequired = Annotated[bool, Doc("Fail if the advisory service does not know a package.")]
OutputFormat = Annotated[Format, Doc("Output format.")]
Actor = Annotated[str, Doc("Who runs this, for the release record.")]
Wait = Annotated[int, Doc("Seconds to wait while another release of this environment runs.")]
Cancelled = Annotated[
    OnCancel, Doc("At Ctrl-C: keep what was done (the next deploy continues), or roll back.")
]
