"""Models on a device: what is known (catalogue), how it arrives (sources, install), how it is run (native, worker).

Nothing here knows the daemon. Importing a module of this package imports neither llama.cpp nor numpy; the functions
that need them do.
"""
