"""Code that all agents share: settings, logs, the app factory, readiness and the server."""
