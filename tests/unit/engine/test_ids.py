import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine import dagql_id
from ci.engine.errors import EngineError
from ci.engine.ids import Call, decode, encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
ROOTS = st.builds(Call, st.just("Directory"), st.text(max_size=4))


def grown(parts: st.SearchStrategy[Call]) -> st.SearchStrategy[Call]:
    values = PLAIN | parts | st.lists(parts, max_size=2)
    args = st.dictionaries(st.text(max_size=3), values, max_size=3)
    return st.builds(
        lambda parent, field, given: Call("Container", field, parent, tuple(given.items())),
        parts,
        st.text(max_size=4),
        args,
    )


def packed(rows: bytes) -> str:
    text = base64.b85encode(zlib.compress(rows)).decode()
    return base64.b64encode(dagql_id.wrap(text, kind="A", digest="d")).decode()


@given(st.recursive(ROOTS, grown, max_leaves=8))
def test_an_id_stands_for_the_whole_chain(call: Call) -> None:
    found = decode(encode(call))
    assert found == call
    assert encode(found) == encode(call)


def test_a_part_that_is_used_often_is_in_an_id_once() -> None:
    call = Call("Directory", "directory", None, (("text", "x" * 50),))
    for _ in range(40):  # each doubles what a plain nesting would hold
        call = Call("Directory", "withDirectory", call, (("source", call),))
    assert len(encode(call)) < 20_000


@pytest.mark.parametrize(
    "text",
    ["", "no id", "☃", packed(b"[]"), packed(b'[["A", "b", 5, []]]'), packed(b"[]")[:-8]],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="not an id of this engine"):
        decode(text)
