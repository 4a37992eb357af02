"""The protocol both sides speak. Pure: no sockets, files, clocks or frameworks (see shared/README.md)."""
