"""The pipeline: see ARCHITECTURE.md for its rooms and who may import whom."""
