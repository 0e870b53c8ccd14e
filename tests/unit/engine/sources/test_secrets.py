from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.sources.secrets import Scrubber, as_text


def scrubbed(values: list[bytes], chunks: list[bytes]) -> bytes:
    scrubber = Scrubber(values)
    return b"".join(map(scrubber.feed, chunks)) + scrubber.feed(b"", last=True)


@given(st.lists(st.integers(1, 40)), st.binary(max_size=30), st.binary(max_size=30))
def test_no_cut_of_the_stream_lets_a_value_through(
    cuts: list[int], before: bytes, after: bytes
) -> None:
    value, text = b"s3cr3t-value", before + b"s3cr3t-value" + after + b"s3cr3t-value"
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    chunks = [text[a:b] for a, b in pairwise(places)]
    assert scrubbed([value], chunks) == text.replace(value, b"***")


def test_the_longest_value_goes_first_and_empty_ones_hide_nothing() -> None:
    assert scrubbed([b"", b"\n", b"abc", b"abcdef\n"], [b"abcdef abc\n"]) == b"*** ***\n"


def test_short_output_is_not_kept_back() -> None:
    assert Scrubber([]).feed(b"now") == b"now"


LINES = b"alpha-1\n\n bravo-2 \r\n"


@given(st.lists(st.integers(1, 60)))
def test_each_line_is_hidden_and_the_whole_is_one_wherever_the_stream_is_cut(
    cuts: list[int],
) -> None:
    text = b"<" + LINES + b"> " + LINES.strip() + b" | bravo-2 alpha-1 alpha-"
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    chunks = [text[a:b] for a, b in pairwise(places)]
    assert scrubbed([LINES], chunks) == b"<***> *** | *** *** alpha-"


def test_a_value_that_is_not_text_has_no_lines() -> None:
    value = b"\xff\xfe\nA\nB"
    assert scrubbed([value], [b"A B ", value, b" A"]) == b"A B *** A"


def test_a_variable_that_is_not_text_is_named_without_its_value() -> None:
    with pytest.raises(EngineError, match="secret NAME: the value is not UTF-8") as caught:
        as_text("NAME", b"s3cr3t\xff")
    assert caught.value.__context__ is None
