"""People who use the hub: users, roles in tenants, sessions, API tokens, sign-in."""
