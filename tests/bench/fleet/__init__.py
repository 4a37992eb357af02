"""`./run bench fleet`: how far one hub goes; see `tests.bench.fleet.bench`."""
