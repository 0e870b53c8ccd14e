"""What an environment must have before a release changes a service."""
