"""What executes actions. The default records what it would do, and touches nothing."""

from typing import Protocol

from agents.common.clock import Clock
from agents.common.store.state import Collection, ConflictError
from agents.incident_response.state import Incident, Intent, Step


class Target(Protocol):
    """Executes and reverts actions; the same step twice has one effect."""

    async def execute(self, incident: Incident, step: Step, round_: str, *, undo: bool) -> None:
        """Take or revert an action; raises `OSError` if it cannot.

        `round_` tells one containment of the incident from a later one, after an undo.
        """
        ...


class RecordIntent:
    """Records each action in the table."""

    def __init__(self, intents: Collection[Intent], clock: Clock) -> None:
        self._intents = intents
        self._clock = clock

    async def execute(self, incident: Incident, step: Step, round_: str, *, undo: bool) -> None:
        """Record an action; a repetition is not recorded again."""
        value = Intent(
            incident=incident.id,
            step=step.id,
            action=step.action,
            target=step.target,
            undo=undo,
            time=self._clock.now(),
        )
        suffix = ".undo" if undo else ""
        try:
            await self._intents.create(f"{incident.id}.{round_}.{step.id}{suffix}", value)
        except ConflictError:
            return  # recorded before the process that did it ended
