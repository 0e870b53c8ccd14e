"""All calls of boto3: its dictionaries are turned into frozen dataclasses here."""
