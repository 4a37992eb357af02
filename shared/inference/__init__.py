"""Models, run by whoever has one: the device for its agent, the hub for what it knows; both embed with the same file.

What is known (catalogue), how it arrives (sources, install), how it is run (native, worker), and the ports that the
rest of a program sees (`ports`). The one part of `shared` that opens files, starts threads and imports foreign code
when it is used: what both sides run, not what they say to one another. So nothing else in `shared` imports it, and it
knows neither side. Importing a module of it imports neither llama.cpp nor numpy; the functions that need them do.
"""
