"""Where content comes from outside containers: this host, git, HTTP, secrets."""
