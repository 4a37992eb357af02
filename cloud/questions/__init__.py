"""Questions of devices to the hub, each answered once from what the device may know (rule P31)."""
