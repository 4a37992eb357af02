"""The task tree: node states, transitions and limits. Pure; the same on the device and on the hub."""
