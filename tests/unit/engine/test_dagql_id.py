"""Ids in the message in which Dagger's Go client reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine import dagql_id

#: What protobuf's own library makes of one call with the text "ab", written out by field.
MESSAGE = bytes.fromhex(
    "0a2c"  # recipe
    "0a0164"  # rootDigest: "d"
    "1227"  # callsByDigest
    "0a0164"  # key: "d"
    "1222"  # value: a call
    "120b0a09446972656374 6f7279"  # type.namedType: "Directory"
    "1a046c6f6164"  # field: "load"
    "22 0a 0a026964 1204 3a026162"  # args: name "id", value.string "ab"
    "4a0164"  # digest: "d"
)


def test_a_message_is_that_of_dagger() -> None:
    assert dagql_id.wrap("ab", kind="Directory", digest="d").hex() == MESSAGE.hex()


@given(st.text(min_size=1, max_size=300), st.text(max_size=9), st.text(max_size=70))
def test_the_text_comes_back(text: str, kind: str, digest: str) -> None:
    assert dagql_id.unwrap(dagql_id.wrap(text, kind=kind, digest=digest)) == text


@pytest.mark.parametrize(
    "message", [b"", b"\x0a", b"\x0a\x05a", b"\x0d1234", b"\x80", MESSAGE[:-3]]
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="a message"):
        dagql_id.unwrap(message)
