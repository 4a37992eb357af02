"""Devices: enrolment, the certificate authority, presence."""
