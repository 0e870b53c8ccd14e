"""Listeners: a request that names a load balancer by path is one to its HTTPS listener, if any.

The server's own port is none of a load balancer's, so it does not say which listener is meant. TLS
is not part of the embedded AWS: it is as if it had been terminated already.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ci.local.aws.patching import replace, require


def apply(alb: Any) -> None:
    """Correct which listener answers a request."""
    require(alb, "_listeners")

    def with_own_listener(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def dispatch(  # noqa: PLR0913, PLR0917 (ministack's signature)
            lb: Any, method: str, path: str, headers: Any, body: Any, query: Any,
            port: int = 80, **more: Any,
        ) -> Any:  # fmt: skip
            arn = lb["LoadBalancerArn"]
            mine = [i for i in list(alb._listeners.values()) if i["LoadBalancerArn"] == arn]
            return await original(
                lb, method, path, headers, body, query, listener_port(mine, port), **more
            )

        return dispatch

    replace(alb, "dispatch_request", with_own_listener)


def listener_port(listeners: Iterable[Mapping[str, Any]], port: int) -> int:
    """Return the port of the listener that answers a request to this port of the server."""
    known = {int(item.get("Port") or 80): item.get("Protocol") for item in listeners}
    secure = (at for at, protocol in known.items() if protocol == "HTTPS")
    return port if port in known else next(secure, port)
