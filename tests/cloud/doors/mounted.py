"""Prints what the application with the fleet page serves, one route a line: kind, path, how many declare a need.

A program of its own, because NiceGUI's application can be mounted once in a process. Its argument is a hub's home.
"""

import json
import sys
from pathlib import Path

from fastapi.routing import iter_route_contexts

from cloud.declarations import needs_of
from cloud.roles import Role
from cloud.settings import HubSettings
from cloud.wiring import open_hub


def main() -> None:
    settings = HubSettings(home=Path(sys.argv[1]), mqtt_url="mqtts://localhost:8883")
    with open_hub(settings, Role.API, has_own_broker=False) as parts:
        assert parts.web is not None
        for route in iter_route_contexts(parts.web.app.routes):
            kind = type(route.route).__name__
            line = {"kind": kind, "path": route.path, "needs": len(needs_of(route))}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
