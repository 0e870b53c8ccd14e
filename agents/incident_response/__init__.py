"""Incident response: recommends actions for an incident, with their risk and approval."""
