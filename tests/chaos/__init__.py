"""Faults from a printed seed, thrown at real processes; then a checker that reads what every side has written down.

faults.py    what can go wrong, one entry each
stage.py     hub, broker and devices as processes, and who supervises them
customer.py  somebody who keeps giving the hub work while it is being killed
history.py   what the devices and the hub hold, read out as values
checker.py   what must be true of those values; pure
__main__.py  `./run chaos`
"""
