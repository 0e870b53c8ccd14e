"""All agents in one process on a developer's machine, for `./acso up --agents`. In no image."""
