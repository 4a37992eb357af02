"""What was done at the hub, by whom, provably: an append-only log under a Merkle tree."""
