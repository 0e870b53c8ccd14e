"""Progress, results and errors of a command, for people and for machines."""
