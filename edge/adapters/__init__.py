"""One module per foreign library; each implements a port of `edge.ports` and translates its errors."""
