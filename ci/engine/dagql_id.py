"""Ids in the message in which Dagger's Go client reads, keeps and sends them.

The message is `DAG` (dagql/call/callpbv1/call.proto) with one call, whose one argument is a text.
All fields that are used here are length-delimited, so this is the whole of protobuf that it needs.
"""

from collections.abc import Iterator

#: Numbers of fields from the message down to the text: recipe, entry of a map, its call, argument,
#: literal, string.
_PATH = (1, 2, 2, 4, 2, 7)
_ROOT_DIGEST, _ENTRY_KEY, _TYPE, _FIELD, _ARGUMENT_NAME, _DIGEST, _TYPE_NAME = 1, 1, 2, 3, 1, 9, 1
_VARINT, _LENGTH = 0, 2


def wrap(text: str, *, kind: str, digest: str) -> bytes:
    """Return a message of one call.

    Args:
        text: what `unwrap` returns.
        kind: the type of the object.
        digest: the object's own, to tell objects apart.
    """
    recipe, entry, call, argument, literal, string = _PATH
    value = _field(_ARGUMENT_NAME, b"id") + _field(literal, _field(string, text.encode()))
    parts = [
        _field(_TYPE, _field(_TYPE_NAME, kind.encode())),
        _field(_FIELD, b"load"),
        _field(argument, value),
        _field(_DIGEST, digest.encode()),
    ]
    calls = _field(_ENTRY_KEY, digest.encode()) + _field(call, b"".join(parts))
    return _field(recipe, _field(_ROOT_DIGEST, digest.encode()) + _field(entry, calls))


def unwrap(message: bytes) -> str:
    """Return the text of a message; raises `ValueError` if it has none."""
    for number in _PATH:
        message = next((data for found, data in _fields(message) if found == number), b"")
    if not message:
        raise ValueError("a message without the text of an id")
    return message.decode()


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each length-delimited field."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        size, at = _number(message, at)
        if tag & 7 == _LENGTH:
            if at + size > len(message):
                raise ValueError("a message that is cut off")
            yield tag >> 3, message[at : at + size]
            at += size
        elif tag & 7 != _VARINT:
            raise ValueError("a message with fields of another kind")


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    found = shift = 0
    for place in range(at, len(message)):
        found |= (message[place] & 0x7F) << shift
        if message[place] <= 0x7F:
            return found, place + 1
        shift += 7
    raise ValueError("a message that is cut off")
