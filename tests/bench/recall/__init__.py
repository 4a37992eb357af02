"""`./run bench recall`: how well and how fast is found what was taken in."""
