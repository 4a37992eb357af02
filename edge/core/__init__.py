"""Decisions without I/O: values and `now` in, values out. No clock, no files, no frameworks."""
