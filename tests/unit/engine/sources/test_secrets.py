from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ci.engine.sources.secrets import Scrubber


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
