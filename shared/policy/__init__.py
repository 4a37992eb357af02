"""Rules that hold whatever the model says (DESIGN.md section 4): contracts, labels, bundles, monitor."""
