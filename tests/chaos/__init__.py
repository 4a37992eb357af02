"""Faults from a printed seed, thrown at real processes; then a checker that reads what every side has written down.

faults.py      what can go wrong, one entry each
sites.py       two ways to run a hub: one process on SQLite, several on PostgreSQL
devices.py     a device with its link, disk, clock, and at times a clone
stage.py       all of that together, who supervises it, and who takes notes
customer.py    somebody who keeps giving the hub work while it is being attacked
witness.py     writes down every record that a device commits, before retention trims it
reading.py     what the hub and the devices hold, read out as values
rebuild.py     projections made anew from the logs, and how the real ones differ
evidence.py    those values; sample.py makes small ones by hand
checker.py     what must be true of them (check_logs.py, check_work.py, stories.py, violations.py); pure
run.py         one run; __main__.py is `./run chaos`
"""
