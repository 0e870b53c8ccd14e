"""The `acso` program: a command for each function of `Acso`, and commands for this machine."""
