"""Files of containers: images, changes that are in no image yet, and the content of mounts."""
