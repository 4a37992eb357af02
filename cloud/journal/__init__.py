"""The logs that the hub holds, and their verification."""
