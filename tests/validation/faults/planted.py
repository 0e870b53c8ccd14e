"""All planted faults, and the variations that no check may report."""

from tests.validation.faults import agents
from tests.validation.faults.emulator import encryption, iam, monitoring, network
from tests.validation.faults.emulator import releases as release_records
from tests.validation.faults.emulator import services as running_services
from tests.validation.faults.fault import Fault, faults
from tests.validation.faults.responses import (
    access,
    alarms,
    balancing,
    data,
    performance,
    services,
)

FAULTS: tuple[Fault, ...] = (
    *faults(iam, network, encryption, monitoring, running_services, release_records),
    *faults(access, data, services, performance, balancing, alarms),
    *agents.FAULTS,
)
HARMLESS = tuple(fault for fault in FAULTS if fault.harmless)
