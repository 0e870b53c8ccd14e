"""Moving services to revisions, watching them, and judging the result."""
