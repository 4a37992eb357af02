"""The device's store: one SQLite file with the logs, the blobs and the tables of work."""
