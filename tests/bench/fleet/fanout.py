"""The one HTTP request that touches every device of a fleet: another desired setting for all of them."""

from typing import Final

from tests.support.real_hub import RealHub

PATH: Final = "/v1/twins/fleet"


def desire(hub: RealHub, number: int, *, timeout_s: float) -> None:
    """Returns when the hub has answered. Blocks. `number` has to be another one each time, else nothing changes."""
    document = {
        "log_level": "info",
        "telemetry": {"interval_s": 60, "series": ["cpu", "memory"]},
        "bench": number,
    }
    with hub.http(timeout_s=timeout_s) as http:
        http.put(PATH, json={"document": document}).raise_for_status()
