"""By which times devices' certificates are made and renewed: a value, for settings and services alike."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalRules:
    """The settings `device_certificate_days`, `device_renewal_grace_days` and `device_renewal_interval_s`."""

    life: timedelta
    grace: timedelta
    interval: timedelta
