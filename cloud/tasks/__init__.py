"""Tasks: creating, leasing, cancelling, watching; the projection of what devices report."""
