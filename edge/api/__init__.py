"""The device's local HTTP API: OpenAI-compatible chat, tasks, status. Loopback and a bearer token by default."""
