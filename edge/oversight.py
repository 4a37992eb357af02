"""What people on site do with the rules: see them, agree to a call or refuse it, stop the device, bring a bundle."""

import json
from datetime import datetime
from typing import Any

from edge.button import stop_file
from edge.drift import Drift
from edge.ports import Draft, Journal, PendingApproval, PolicyStore
from edge.rules import NO_BUNDLE, Rules
from edge.settings import EdgeSettings
from shared.clock import Clock, to_ms
from shared.errors import ConfigError, RefusedError
from shared.records import ApprovalGiven


class Oversight:
    """The rules, for the local API and the commands."""

    def __init__(
        self,
        *,
        settings: EdgeSettings,
        rules: Rules,
        drift: Drift,
        store: PolicyStore,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._drift = drift
        self._settings = settings
        self._rules = rules
        self._store = store
        self._journal = journal
        self._clock = clock

    def policy(self) -> dict[str, Any]:
        """What holds now, as plain values."""
        status = self._rules.status
        return {
            "package": status.package,
            "version": status.version,
            "hash": status.hash.hex(),
            "mode": "baseline" if status.why is not None else "rules",
            "why": status.why,
            "lease_ends_at": None if status.lease_ends is None else status.lease_ends.isoformat(),
            "stopped_by": list(status.stopped_by),
        }

    def tools(self) -> dict[str, Any]:
        """Each tool's fingerprint, and whether it is another one than people knew."""
        drifted = self._drift.drifted
        return {
            name: {"fingerprint": digest, "drifted": name in drifted}
            for name, digest in self._drift.fingerprints.items()
        }

    def issues(self) -> dict[str, str]:
        """What a person should know: a stop, and rules that no longer hold. Having none at all is no fault."""
        status = self._rules.status
        found: dict[str, str] = {}
        if status.stopped_by:
            found["stop"] = (
                f"This device is stopped (by {', '.join(status.stopped_by)}) and does nothing;"
                " `covey-edge resume` releases what was stopped here, `covey-hub device resume` what the hub stopped."
            )
        if status.why is not None and status.why != NO_BUNDLE:
            found["rules"] = f"{status.why} Until then it only reads."
        if self._drift.drifted:
            names = ", ".join(sorted(self._drift.drifted))
            found["tools"] = (
                f"Not what people knew when the rules were made: {names}. `covey-edge policy show` has the"
                " fingerprints; rules of a newer version that fit take the tools as they are."
            )
        return found

    async def approvals(self) -> list[dict[str, Any]]:
        """What waits for people, with what is to be agreed to."""
        now = self._clock.now()
        return [await self._view(each, now) for each in await self._store.pending()]

    async def vote(self, nonce: str, *, role: str | None, by: str, granted: bool) -> dict[str, Any]:
        """Say yes or no to what waits under `nonce`.

        Raises `RefusedError` with code `approval_unknown`, `approval_over`, `approval_not_here`, `role_not_asked`,
        `same_person`.
        """
        waiting = next((each for each in await self._store.pending() if each.nonce == nonce), None)
        if waiting is None:
            raise RefusedError(
                "Nothing waits under this number; see `covey-edge approvals`.", code="approval_unknown"
            )
        now = self._clock.now()
        if now >= waiting.expires or waiting.is_decided:
            raise RefusedError("That has been decided already, or its time is over.", code="approval_over")
        if not waiting.is_local:
            raise RefusedError(
                "The rules let only people at the hub agree to this: `covey-hub approval list`.",
                code="approval_not_here",
            )
        roles = waiting.missing if role is None else (role,)
        if len(roles) != 1 or roles[0] not in waiting.missing:
            raise RefusedError(f"Say in which role: {', '.join(waiting.missing)}.", code="role_not_asked")
        if any(vote.by == by for vote in waiting.votes):
            raise RefusedError(
                f"{by} has spoken already; another person has to agree (`--by`).", code="same_person"
            )
        record = ApprovalGiven(
            at_ms=to_ms(now),
            causes=(waiting.seq,),
            task=waiting.task,
            node=waiting.node,
            call=waiting.call,
            nonce=nonce,
            role=roles[0],
            by=by,
            granted=granted,
        )
        await self._journal.append(Draft(record), durable=True)
        return {"nonce": nonce, "role": roles[0], "granted": granted}

    async def stop(self, *, is_stopped: bool) -> dict[str, Any]:
        """Stop by hand, or release what was stopped by hand. Raises `ConfigError` if the file cannot be removed."""
        if not is_stopped:
            try:
                stop_file(self._settings.home).unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"{stop_file(self._settings.home)} cannot be removed ({error.strerror}); the device stays stopped."
                ) from error
        await self._rules.stop(is_stopped=is_stopped)
        return self.policy()

    async def install(self, sealed: bytes) -> dict[str, Any]:
        """Go by a bundle that a person brought. Raises `BundleError`."""
        await self._rules.install(sealed)
        return self.policy()

    async def _view(self, waiting: PendingApproval, now: datetime) -> dict[str, Any]:
        blob = None if waiting.arguments is None else await self._journal.blob(waiting.arguments)
        arguments = None if blob is None else json.loads(blob.content)
        return {
            "nonce": waiting.nonce,
            "task": waiting.task,
            "node": waiting.node,
            "call": waiting.call,
            "tool": waiting.action,
            "arguments": arguments,
            "rule": waiting.rule,
            "roles": list(waiting.roles),
            "missing": list(waiting.missing),
            "local": waiting.is_local,
            "expires_at": waiting.expires.isoformat(),
            "left_s": max(0, int((waiting.expires - now).total_seconds())),
            "over": waiting.is_decided or now >= waiting.expires,
        }
