"""What the doctor examines: the facts that several checks look at, gathered once. The rest each check reads itself."""

import shlex
from dataclasses import dataclass
from typing import Any

from edge.adapters.hub_http import HubAnswer
from edge.identity import Identity
from edge.settings import EdgeSettings
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One device.

    `identity` is None if the device is not enrolled, and also if its identity is damaged: the check of the certificates
    says so. `daemon` is the running daemon's status, None if none runs; `silent_pid` one that runs and does not answer.
    `hub` is what the hub answered over HTTPS, None if it did not.
    """

    settings: EdgeSettings
    clock: Clock
    version: str
    identity: Identity | None = None
    daemon: dict[str, Any] | None = None
    silent_pid: int | None = None
    hub: HubAnswer | None = None

    def command(self, arguments: str) -> str:
        """`covey-edge …` for this very device, ready to be typed."""
        return f"covey-edge {arguments} --home {shlex.quote(str(self.settings.home))}"

    @property
    def enrol_again(self) -> str:
        """Put the old identity aside and spend a new token."""
        folder = shlex.quote(str(self.settings.identity_dir))
        return f"mv {folder} {folder}.old && {self.command('enroll --token TOKEN')}"
