"""Service orchestration: sorts tickets by category, urgency and what the client was promised."""
