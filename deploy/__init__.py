"""Running Covey: the demo, systemd units, broker configuration."""
