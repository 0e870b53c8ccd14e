"""Looking at an environment: status, logs, failures, notifications, commands in tasks."""
