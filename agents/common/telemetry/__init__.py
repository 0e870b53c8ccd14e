"""What an agent tells about itself: logs, figures and traces."""
