"""Whether an environment is fit for production: safe, available, observed and recoverable."""

from validation.model import Check
from validation.production import (
    availability,
    encryption,
    iam,
    monitoring,
    network,
    performance,
    recovery,
)

AREAS = (iam, encryption, availability, performance, recovery, monitoring, network)
CHECKS: tuple[Check, ...] = tuple(check for area in AREAS for check in area.CHECKS)
#: The checks that answer controls of the CIS Foundations Benchmark 3.0 or of AWS's Foundational
#: Security Best Practices (FSBP).
COMPLIANCE: tuple[Check, ...] = tuple(check for check in CHECKS if check.controls)
