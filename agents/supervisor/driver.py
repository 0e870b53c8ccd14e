"""Does the tasks of unfinished workflows, together with the other copies of the supervisor.

A process takes a task by a conditional write and keeps it for a limited time. If it ends, another
one does the task again with the same idempotency key, so that the agent does it once.
"""

import logging
import random
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from agents.common.approvals import Approval, approvals, settled
from agents.common.callers.calls import Call, CallError, Reply
from agents.common.errors import ProblemError
from agents.common.runtime import Runtime
from agents.common.store import drill
from agents.common.store.state import ConflictError, Document, StateError, derived_id
from agents.common.telemetry import traces
from agents.supervisor import operations
from agents.supervisor import workflow as machine
from agents.supervisor.operations import InputError
from agents.supervisor.state import Task, Workflow, active, workflows

#: Seconds between two looks for workflows of other processes.
POLL = 1.0
#: Unfinished workflows that are looked at together.
BATCH = 100

_log = logging.getLogger("agents.supervisor")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One process that does tasks."""

    runtime: Runtime
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _busy: set[str] = field(default_factory=set)
    _limit: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(machine.CONCURRENT))

    async def run(self) -> None:
        """Do tasks until cancelled; a slow workflow does not delay the others."""
        async with anyio.create_task_group() as group:
            while True:
                try:
                    await self._look(group)
                except StateError as error:
                    _log.warning("workflows cannot be read: %s", error)
                # Random, so that copies of the supervisor do not look at the same moment.
                pause = POLL * random.uniform(0.5, 1.5)  # noqa: S311
                await self.runtime.clock.sleep(pause)

    async def sweep(self) -> None:
        """Do what can be done now in every unfinished workflow."""
        async with anyio.create_task_group() as group:
            await self._look(group)

    async def _look(self, group: TaskGroup) -> None:
        """Start with every unfinished workflow that this process is not busy with, oldest first."""
        after, seen = "", 0
        while True:
            rows = await self.runtime.table.query(
                active(self.runtime).pk, limit=BATCH, after=after, newest=False
            )
            seen += len(rows)
            for row in rows:
                if row.sk not in self._busy:
                    self._busy.add(row.sk)
                    group.start_soon(self._guarded, row.sk)
            if len(rows) < BATCH:
                break
            after = rows[-1].sk
        self.runtime.metrics.queue(seen)

    async def advance(self, id_: str) -> None:
        """Do what can be done now in one workflow."""
        while True:
            document = await workflows(self.runtime).get(id_)
            if document is None:
                return
            drill.current.set(drill.of(document.value))
            document = await self._settle(document)
            taken = [] if document is None else await self._take(document)
            if document is not None and not taken:
                return
            async with anyio.create_task_group() as group:
                for task in taken:
                    group.start_soon(self._do, id_, task)

    async def _guarded(self, id_: str) -> None:
        try:
            async with self._limit:
                await self.advance(id_)
        except Exception:
            # One workflow must not stop the others; the next look tries it again.
            _log.exception("workflow %s cannot be continued", id_)
        finally:
            self._busy.discard(id_)

    async def _settle(self, document: Document[Workflow]) -> Document[Workflow] | None:
        """Store what follows from states and time; None: another writer was first, look again."""
        now = self.runtime.clock.now()
        try:
            for task in document.value.tasks:
                if task.status == "approval" and await self._expire(document, task):
                    return None
            settled_ = machine.settle(document.value, now)
            if settled_ == document.value:
                return document
            if settled_.finished is None:
                return await workflows(self.runtime).save(document, settled_)
            await self._finish(document, settled_)
        except ConflictError:
            return None
        return Document(id=document.id, value=settled_, version=document.version + 1)

    async def _finish(self, document: Document[Workflow], final: Workflow) -> None:
        mark = await active(self.runtime).get(document.id)
        writes = [workflows(self.runtime).change(document, final)]
        if mark is not None:
            writes.append(active(self.runtime).removal(mark))
        await self.runtime.table.write(writes)

    async def _expire(self, document: Document[Workflow], task: Task) -> bool:
        """Record an approval whose deadline is over; return whether it was."""
        collection = approvals(self.runtime.table, self.runtime.clock)
        found = await collection.get(task.approval)
        if found is None:
            return False
        late = settled(found.value, self.runtime.clock.now())
        if late.status != "expired":
            return False
        changed = machine.decided(document.value, task.id, "expired", late.decided_by)
        writes = [workflows(self.runtime).change(document, changed)]
        if late != found.value:
            writes.append(collection.change(found, late))
        await self.runtime.table.write(writes)
        return True

    async def _take(self, document: Document[Workflow]) -> list[Task]:
        """Take the tasks that can be done, and ask for approvals; return what was taken."""
        now = self.runtime.clock.now()
        ready = machine.ready(document.value, now)
        # A task without what it needs fails at once; nobody is asked to approve it.
        risky = [
            task
            for task in ready
            if operations.valid(document.value, task)
            and machine.needs_approval(document.value, task)
        ]
        taken = [task.id for task in ready if task not in risky][: machine.CONCURRENT]
        changed = machine.claimed(document.value, taken, self.owner, now)
        writes = []
        collection = approvals(self.runtime.table, self.runtime.clock)
        for task in risky:
            approval = self._approval(document.value, task)
            changed = machine.asked(changed, task.id, approval.id)
            writes.append(collection.creation(approval.id, approval))
        if not ready:
            return []
        try:
            await self.runtime.table.write(
                [workflows(self.runtime).change(document, changed), *writes]
            )
        except ConflictError:
            return []  # another process was first; the next look shows what is left
        return [task for task in changed.tasks if task.id in taken]

    def _approval(self, workflow: Workflow, task: Task) -> Approval:
        now = self.runtime.clock.now()
        return Approval(
            id=derived_id(now, workflow.id, task.id),
            workflow=workflow.id,
            task=task.id,
            subject=operations.subject(workflow, task),
            reason=operations.reason(workflow, task),
            risk=operations.risk(workflow, task),
            requested=now,
            deadline=now + timedelta(seconds=workflow.approval_seconds),
        )

    async def _do(self, id_: str, task: Task) -> None:
        """Do one task that this process has taken, and store its outcome."""
        began = self.runtime.clock.now()
        try:
            with traces.task(task.operation, id_, task.id) as outcome:
                changed = await self._outcome(id_, task)
                final = None if changed is None else changed.value.task(task.id)
                if final is not None and final.status != "completed":
                    outcome.failed(final.status)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await workflows(self.runtime).update(
                    id_, lambda w: machine.handed_back(w, task.id, self.owner)
                )
            raise
        if final is not None and (final.status == "completed" or final.status == "failed"):  # noqa: PLR1714
            seconds = (self.runtime.clock.now() - began).total_seconds()
            self.runtime.metrics.task(task.operation, final.status, seconds)

    async def _outcome(self, id_: str, task: Task) -> Document[Workflow] | None:
        collection = workflows(self.runtime)
        document = await collection.get(id_)
        if document is None:
            return None
        try:
            request = operations.request(document.value, task)
            reply = await self.runtime.peers.send(
                Call(
                    agent=request.agent,
                    method=request.method,
                    path=request.path,
                    body=request.body,
                    key=f"{id_}.{task.id}",
                    timeout=machine.TIMEOUT,
                )
            )
        except InputError as error:
            reason = str(error)
            return await collection.update(id_, lambda w: machine.failed(w, task.id, reason))
        except (CallError, ProblemError) as error:
            return await self._again(id_, task, str(error))
        return await self._ended(id_, task, request.agent, reply)

    async def _ended(
        self, id_: str, task: Task, agent: str, reply: Reply
    ) -> Document[Workflow] | None:
        """Store the outcome of an attempt that was answered."""
        collection = workflows(self.runtime)
        if reply.ok and (reason := operations.unfinished(task.operation, reply.body)):
            return await self._again(id_, task, reason)
        if reply.ok:
            result = operations.kept(task.operation, reply.body)
            return await collection.update(id_, lambda w: machine.completed(w, task.id, result))
        detail = reply.body.get("detail") if isinstance(reply.body, dict) else None
        reason = f"{agent} answered {reply.status}: {detail}"
        if reply.status in (409, 429) or reply.status >= 500:
            return await self._again(id_, task, reason)
        return await collection.update(id_, lambda w: machine.failed(w, task.id, reason))

    async def _again(self, id_: str, task: Task, reason: str) -> Document[Workflow] | None:
        now = self.runtime.clock.now()
        return await workflows(self.runtime).update(
            id_, lambda w: machine.postponed(w, task.id, reason, now)
        )
