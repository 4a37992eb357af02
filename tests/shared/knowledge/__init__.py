"""What hub and devices say about collections."""
