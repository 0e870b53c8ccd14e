"""References by digest."""

import pytest

from ci.stages.publish import digest

SHA = "sha256:" + "0" * 64


def test_a_digest_is_read_from_a_reference() -> None:
    assert digest(f"localhost:4566/acso-supervisor:1@{SHA}") == SHA


@pytest.mark.parametrize("reference", ["localhost:4566/a:1", "a@md5:1", ""])
def test_a_reference_without_a_digest_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="names no digest"):
        digest(reference)
