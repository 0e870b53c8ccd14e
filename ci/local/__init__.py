"""What runs on this machine: container engine, base image, embedded AWS; and its settings."""
