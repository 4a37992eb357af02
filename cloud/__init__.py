"""The hub: HTTP API, ingest from MQTT, certificate authority, tasks (see cloud/README.md)."""
