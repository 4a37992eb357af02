"""Two-person rule: what one asks for, another must agree to, bound to the exact content."""
