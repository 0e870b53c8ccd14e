"""Where a build container finds the CA certificates of this machine."""

#: The bundle's path in a container; below /dev, which is part of no image.
CA_PATH = "/dev/acso/ca.pem"
