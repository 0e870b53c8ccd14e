"""What is given as a secret: read once, and in no message."""

from typing import Any

import pytest

from ci.errors import UsageError
from ci.pipeline import credentials


class Secret:
    def __init__(self, text: str) -> None:
        self.text = text

    async def plaintext(self) -> str:
        return self.text


async def webhook(text: str) -> str:
    secret: Any = Secret(text)
    return await credentials.webhook(secret)


async def test_a_webhook_is_a_url_or_none() -> None:
    assert await credentials.webhook(None) == ""
    assert await webhook("https://hooks.example.org/services/T0/B0/x\n") == (
        "https://hooks.example.org/services/T0/B0/x"
    )


@pytest.mark.parametrize("text", ["", "hooks.example.org/services", "ftp://x", "needle"])
async def test_what_is_no_url_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"the webhook is not an http\(s\) URL") as raised:
        await webhook(text)
    assert "needle" not in f"{raised.value} {raised.value.hint}"
