"""Benches: `python -m tests.bench NAME`. Each measures real processes, prints a table, and last one line of JSON."""
