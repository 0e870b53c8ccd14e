"""What a release would change, and whether a saved plan is still current."""
