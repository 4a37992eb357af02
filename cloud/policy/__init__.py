"""Policies at the hub: the compiler of packages, trials, simulation, publication."""
