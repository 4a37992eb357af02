"""The tests. A package at every level: a tests/edge without an __init__.py would hide the real `edge`."""
