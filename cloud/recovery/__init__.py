"""Recovery: logs that part, records that never came or could not be applied, and what an operator does about them."""
