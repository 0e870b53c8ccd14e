"""This machine: container engine, base image, embedded AWS, and what its settings are."""
