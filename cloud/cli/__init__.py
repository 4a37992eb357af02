"""The commands of `covey-hub`. They know the HTTP API and its schemas, and nothing behind it."""
