"""Arguments that `acso` and `dagger call` check alike."""

import pytest

from ci.errors import UsageError
from ci.pipeline.arguments import LARGEST, LEAST, check_number, check_url


@pytest.mark.parametrize("name", LEAST)
def test_numbers_have_a_smallest_and_a_largest_value(name: str) -> None:
    for good in (LEAST[name], LARGEST):
        assert check_number(name, good) == good
    for bad in (LEAST[name] - 1, -5, LARGEST + 1):
        with pytest.raises(UsageError, match=f"--{name} {bad} is not a number from {LEAST[name]}"):
            check_number(name, bad)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566", "https://x.example/path", "http://[::1]"])
def test_a_url_is_returned(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "text",
    ["", "garbage", "x.example:80", "ftp://x", "http://", "http://[", "http://x:y", "http://a b"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a URL"):
        check_url(text)
