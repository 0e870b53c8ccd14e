"""The container's health check: `python -m agents.healthcheck` exits 0 if the agent is healthy.

It runs every few seconds in a small container, so it imports only a few standard modules.
"""

import http.client
import json
import os
import sys

#: Seconds after which a health check has failed.
TIMEOUT = 2.0


def problem(port: int) -> str | None:
    """Return why the agent on a local port is not healthy, or None if it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        if response.status != 200:
            return f"/health answered {response.status}"
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"/health on port {port}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    status = answer.get("status") if isinstance(answer, dict) else None
    return None if status == "healthy" else f"/health says status {status!r}"


def main() -> None:
    """Check the agent; exit 1 with the problem on stderr."""
    sys.exit(problem(int(os.environ.get("PORT") or 8000)))


if __name__ == "__main__":
    main()
