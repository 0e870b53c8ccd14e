"""Move services to revisions, watch them, and decide whether they are healthy."""
