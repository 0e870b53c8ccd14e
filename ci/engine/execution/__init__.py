"""Running containers: steps, services, ports, images, over the Docker API."""
