"""The hub's half of memory (rule P30): what devices propose to the fleet, who lets it in, and what is forgotten."""
