"""Which listener a request to the embedded AWS's one port is answered by."""

import pytest

from ci.local.aws.listeners import listener_port

HTTP, HTTPS = {"Port": 80, "Protocol": "HTTP"}, {"Port": 443, "Protocol": "HTTPS"}


@pytest.mark.parametrize(
    ("listeners", "port", "answers"),
    [
        ([HTTP], 45123, 45123),  # ministack then takes the only one
        ([HTTP, HTTPS], 45123, 443),
        ([HTTPS, HTTP], 45123, 443),
        ([HTTP, HTTPS], 80, 80),
        ([HTTP, HTTPS], 443, 443),
        ([], 45123, 45123),
    ],
)
def test_a_request_by_path_is_one_to_the_listener_with_tls(
    listeners: list[dict[str, object]], port: int, answers: int
) -> None:
    assert listener_port(listeners, port) == answers
