"""The local engine: Dagger's API over a Docker socket, for Dagger's own client.

It serves the protocol of Dagger v0.21 and imports nothing of the pipeline.
"""

from ci.common.certificates import CA_PATH
from ci.engine.errors import EngineError
from ci.engine.options import Options
from ci.engine.server import Session, serve

__all__ = ["CA_PATH", "EngineError", "Options", "Session", "serve"]
