"""MQTT to gate to log to projections to acknowledgement: one direction, one place."""
