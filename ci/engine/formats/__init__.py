"""Text formats that the API takes: env files, shell words, platforms."""
