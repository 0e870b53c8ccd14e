"""The Docker API as the engine uses it, on each container engine: images, layers, transfers."""
