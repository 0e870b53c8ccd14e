"""The agents: HTTP services built by one app factory, each in a small package."""
