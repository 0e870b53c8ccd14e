"""The `acso` program: commands made from the functions of `Acso`, and the verbs of this machine."""
