"""An environment's stack as a release changes it: extended before, completed after."""

from dataclasses import dataclass

from ci.aws.cloudformation import DesiredStack
from ci.aws.target import Target
from ci.errors import InfrastructureError
from ci.infra import environment
from ci.infra.environment import Outputs
from ci.infra.phases import covers, extended
from ci.infra.stacks import NotPermittedError, Say
from ci.infra.templates import mapped


@dataclass(frozen=True, kw_only=True)
class EnvironmentStack:
    """The stack of one environment; implements `ci.release.Infrastructure`."""

    target: Target

    def desired(self) -> DesiredStack:
        """Return the stack as acso.toml defines it."""
        return environment.desired(self.target)

    async def current(self) -> DesiredStack | None:
        """Return what the stack was made from; None if it does not exist."""
        return await environment.current(self.target)

    async def extend(self, to: DesiredStack, say: Say, *, back: bool = False) -> Outputs:
        """Add what another state of the stack needs; keep all that the current one has.

        Args:
            to: the other state.
            say: receives the stack's events.
            back: whether it is an earlier state. If the credentials do not allow to update the
                stack, it is left as it is, provided that the services can go back with it.

        Raises:
            InfrastructureError: it failed, and CloudFormation rolled the stack back.
        """
        now = await self.current()
        wanted = extended(now, to, back=back)
        try:
            stack = await environment.apply_stack(self.target, wanted, say)
        except NotPermittedError as error:
            if not (back and now and covers(now, to)):
                raise
            say(f"the infrastructure stays as it is: {str(error).splitlines()[0]}")
            return await self._outputs(now)
        names = [values["Name"] for values in mapped(wanted.template).values()]
        return environment.outputs_of(self.target, stack, names)

    async def complete(self, to: DesiredStack, say: Say) -> None:
        """Bring the stack to a state, and remove all that this state does not have.

        Raises:
            InfrastructureError: it failed, and CloudFormation rolled the stack back.
        """
        await environment.apply_stack(self.target, to, say)

    async def _outputs(self, now: DesiredStack) -> Outputs:
        names = [values["Name"] for values in mapped(now.template).values()]
        found = await environment.outputs(self.target, names)
        if found is None:
            message = f"stack {now.name} has no outputs"
            raise InfrastructureError(message)
        return found
