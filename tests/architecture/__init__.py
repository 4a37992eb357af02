"""Rules about the repository itself, one file a rule, each with its reason."""
