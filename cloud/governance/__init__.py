"""Rules in the fleet: releases of bundles, what devices decided by them, approvals, stops, findings."""
