"""What tests stand on: a manual clock, in-memory ports, and real brokers, databases and processes."""
