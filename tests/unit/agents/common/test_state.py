"""The table in memory and the one in DynamoDB keep the same promises."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest

from agents.common.aws import Aws
from agents.common.errors import ProblemError
from agents.common.idempotency import Keyed, create_once
from agents.common.settings import Settings
from agents.common.store.dynamo import DynamoTable
from agents.common.store.memory import MemoryTable
from agents.common.store.state import (
    Collection,
    ConflictError,
    StateError,
    Stored,
    Table,
    derived_id,
    digest,
    new_id,
)
from tests.unit.agents.house import START, ManualClock


class Note(Stored):
    text: str
    count: int = 0


class Later(Note):
    """The same document as the next version of an agent writes it."""

    author: str


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "dynamodb"])
def table(request: pytest.FixtureRequest, clock: ManualClock) -> Table:
    if request.param == "memory":
        return MemoryTable(clock)
    aws = request.getfixturevalue("aws")
    return DynamoTable(aws, request.getfixturevalue("dynamo_name"), clock)


@pytest.fixture
def notes(table: Table, clock: ManualClock) -> Collection[Note]:
    # A kind of its own, because all tests share the table in DynamoDB.
    return Collection(
        table=table, clock=clock, agent="supervisor", kind=uuid.uuid4().hex, model=Note
    )


async def test_a_document_is_read_as_it_was_written(notes: Collection[Note]) -> None:
    assert await notes.get("a") is None
    created = await notes.create("a", Note(text="ä\n"))
    assert await notes.get("a") == created
    saved = await notes.save(created, Note(text="b"))
    assert await notes.get("a") == saved


async def test_of_two_writers_the_second_is_refused(notes: Collection[Note]) -> None:
    created = await notes.create("a", Note(text="a"))
    with pytest.raises(ConflictError):
        await notes.create("a", Note(text="b"))
    await notes.save(created, Note(text="c"))
    with pytest.raises(ConflictError):
        await notes.save(created, Note(text="d"))
    found = await notes.get("a")
    assert found is not None
    assert found.value.text == "c"


async def test_an_update_is_repeated_until_no_other_writer_was_first(
    notes: Collection[Note],
) -> None:
    await notes.create("a", Note(text="a"))

    async def add() -> None:
        await notes.update("a", lambda note: note.model_copy(update={"count": note.count + 1}))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(add)
    found = await notes.get("a")
    assert found is not None
    assert found.value.count == 5


async def test_a_transaction_makes_all_changes_or_none(notes: Collection[Note]) -> None:
    first = await notes.create("a", Note(text="a"))
    second = await notes.create("b", Note(text="b"))
    await notes.save(second, Note(text="changed"))
    both = [notes.change(first, Note(text="x")), notes.change(second, Note(text="y"))]
    with pytest.raises(ConflictError):
        await notes.table.write(both)
    assert [note.text for note in (await notes.page()).items] == ["changed", "a"]
    current = await notes.get("b")
    assert current is not None
    await notes.table.write([notes.change(first, Note(text="x")), notes.removal(current)])
    assert [note.text for note in (await notes.page()).items] == ["x"]


async def test_a_transaction_changes_an_item_once(notes: Collection[Note]) -> None:
    first = await notes.create("a", Note(text="a"))
    with pytest.raises(StateError):
        await notes.table.write([notes.change(first, Note(text="x")), notes.removal(first)])


@pytest.mark.parametrize("newest", [True, False])
async def test_pages_contain_every_document_once(notes: Collection[Note], newest: bool) -> None:
    for number in range(5):
        await notes.create(f"{number}", Note(text=str(number)))
    seen, after, pages = [], "", 0
    while True:
        page = await notes.page(limit=2, after=after, newest=newest)
        seen += [note.text for note in page.items]
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert seen == (list("43210") if newest else list("01234"))
    assert pages == 3


async def test_an_expired_document_does_not_exist_although_it_was_not_removed(
    table: Table, clock: ManualClock
) -> None:
    notes = Collection(
        table=table,
        clock=clock,
        agent="supervisor",
        kind=uuid.uuid4().hex,
        model=Note,
        lifetime=timedelta(minutes=1),
    )
    await notes.create("a", Note(text="old"))
    clock.advance(59)
    assert await notes.get("a")
    clock.advance(1)
    assert await notes.get("a") is None
    assert (await notes.page()).items == ()
    await notes.create("a", Note(text="new"))  # its id is free
    assert [note.text for note in (await notes.page()).items] == ["new"]


async def test_fields_of_a_later_version_survive_a_change_by_an_earlier_one(
    notes: Collection[Note],
) -> None:
    later = Collection(
        table=notes.table, clock=notes.clock, agent="supervisor", kind=notes.kind, model=Later
    )
    await later.create("a", Later(text="a", author="new"))
    await notes.update("a", lambda note: note.model_copy(update={"count": 7}))
    found = await later.get("a")
    assert found is not None
    assert found.value == Later(text="a", count=7, author="new")


def keyed(key: str | None, content: str = "{}", caller: str = "person:alice") -> Keyed:
    return Keyed(caller=caller, operation="POST /notes", key=key, content=content)


async def test_a_repeated_request_has_one_effect(
    notes: Collection[Note], clock: ManualClock
) -> None:
    name = uuid.uuid4().hex
    first, created = await create_once(notes, keyed(name), "a", Note(text="a"))
    again, repeated = await create_once(notes, keyed(name), "b", Note(text="b"))
    assert (created, repeated) == (True, False)
    assert again == first
    with pytest.raises(ProblemError, match="another request") as refused:
        await create_once(notes, keyed(name, '{"x": 1}'), "c", Note(text="c"))
    assert refused.value.status == 422
    # Another caller's key, and a request without one, are other requests.
    assert (await create_once(notes, keyed(name, caller="bob"), "d", Note(text="d")))[1]
    assert (await create_once(notes, keyed(None), "e", Note(text="e")))[1]
    clock.advance(24 * 3600)
    assert (await create_once(notes, keyed(name), "f", Note(text="f")))[1]


async def test_of_the_same_request_twice_at_once_one_has_the_effect(
    notes: Collection[Note],
) -> None:
    name = uuid.uuid4().hex
    results: list[tuple[str, bool]] = []

    async def send(id_: str) -> None:
        document, created = await create_once(notes, keyed(name), id_, Note(text=id_))
        results.append((document.id, created))

    async with anyio.create_task_group() as group:
        for id_ in "abc":
            group.start_soon(send, id_)
    assert len({id_ for id_, _ in results}) == 1
    assert sorted(created for _, created in results) == [False, False, True]
    assert len((await notes.page()).items) == 1


@pytest.mark.parametrize("call", [lambda t: t.get("a", "b"), lambda t: t.query("a", limit=1)])
async def test_a_table_that_does_not_answer_is_an_error_with_the_reason(
    call: Callable[[Table], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    aws = Aws(Settings(agent="x", region="us-east-1", endpoint="http://127.0.0.1:1"))
    aws.client("dynamodb", attempts=1)
    table = DynamoTable(aws, "t", ManualClock())
    with pytest.raises(StateError, match=r"table t: EndpointConnectionError"):
        await call(table)  # type: ignore[misc]


def test_ids_sort_by_time_and_derived_ones_are_repeatable() -> None:
    later = START + timedelta(milliseconds=1)
    assert new_id(START) < new_id(later)
    assert new_id(START) != new_id(START)
    assert derived_id(START, "a", "b") == derived_id(START, "a", "b")
    assert derived_id(START, "a", "b") != derived_id(START, "ab", "")
    assert digest("a", "b") != digest("ab")
