"""One module per foreign system the hub speaks to."""
