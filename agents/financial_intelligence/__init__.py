"""Financial intelligence: finds opportunities to earn or save money."""
