"""What a fleet bench found: percentiles, growth exponents, and the shape of its JSON line. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One size of fleet. Shares are of one processor; `idle` is the same process before the first device came."""

    n: int
    connect_s: float
    hub_cpu_share: float
    broker_cpu_share: float
    hub_rss_mb: float
    hub_idle_rss_mb: float
    broker_rss_mb: float
    broker_idle_rss_mb: float
    records_per_s: float
    fanout_p50_s: float
    fanout_p99_s: float
    storm_settle_s: float


COSTS: Final[Mapping[str, Callable[[Run], float]]] = {
    "connect_s": lambda run: run.connect_s,
    "hub_cpu_share": lambda run: run.hub_cpu_share,
    "hub_rss_mb": lambda run: run.hub_rss_mb - run.hub_idle_rss_mb,
    "broker_rss_mb": lambda run: run.broker_rss_mb - run.broker_idle_rss_mb,
    "fanout_p99_s": lambda run: run.fanout_p99_s,
    "storm_settle_s": lambda run: run.storm_settle_s,
}
"""Whose growth over the number of devices is told. Memory: what the fleet adds to an idle hub and broker."""

_DIGITS: Final = {"n": 0, "records_per_s": 0, "hub_cpu_share": 4, "broker_cpu_share": 4}
"""Others have three."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed (nearest rank).

    Raises `ValueError` if there are none.
    """
    if not values:
        raise ValueError("no values have no percentile")
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The slope of `costs` over `sizes` by least squares, both as logarithms: 1 is linear growth, 0 none.

    None where there is nothing to fit: fewer than two sizes, or a cost that is not positive.
    """
    if len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def exponents(runs: Sequence[Run]) -> dict[str, float]:
    """The growth exponent of each cost that has one."""
    sizes = [run.n for run in runs]
    found = {name: growth_exponent(sizes, [cost(run) for run in runs]) for name, cost in COSTS.items()}
    return {name: round(exponent, 3) for name, exponent in found.items() if exponent is not None}


def as_json(run: Run) -> dict[str, float | int]:
    values: dict[str, float | int] = {}
    for name in Run.__slots__:
        digits = _DIGITS.get(name, 3)
        value = float(getattr(run, name))
        values[name] = round(value, digits) if digits else round(value)
    return values
