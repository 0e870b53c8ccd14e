"""A registry does not answer, or refuses the connection."""

import dagger
import pytest

from ci.engine.docker import transfers
from tests.engine.behaviours import Lab
from tests.engine.daemons import silent_server

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


async def test_a_registry_that_never_answers_has_a_deadline(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "STALL_TIMEOUT", 1)
    with silent_server() as port:
        name = f"127.0.0.1:{port}/app:1"
        for work in (lab.dag.container().from_(name).sync(), lab.base.publish(name)):
            with pytest.raises(
                dagger.QueryError, match=rf"127\.0\.0\.1:{port} sent nothing for 1 s"
            ):
                await work
    assert await lab.sh("echo goes on").stdout() == "goes on\n"


async def test_a_refused_connection_to_a_registry_is_reported(lab: Lab) -> None:
    with silent_server() as port:
        pass  # nobody listens there any more
    with pytest.raises(dagger.QueryError, match="connection refused"):
        await lab.dag.container().from_(f"127.0.0.1:{port}/app:1").sync()
