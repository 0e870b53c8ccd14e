"""Service orchestration: triages tickets by category, urgency and service level."""
