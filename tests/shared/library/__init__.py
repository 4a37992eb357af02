"""Collections on one machine."""
