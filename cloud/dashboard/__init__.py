"""The hub's fleet page: what the database says about devices, in a browser, live."""
