"""Twins: desired settings in layers, ordered as one document a device; what devices report that they run."""
