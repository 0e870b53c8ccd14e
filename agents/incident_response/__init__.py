"""Incident response: says what to do about an incident, and who must agree."""
