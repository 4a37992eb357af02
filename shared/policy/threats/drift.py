"""A tool that is no longer the one that was approved ("rug pull"). Pure; bounded by `tools_max`."""

from collections.abc import Mapping
from typing import Final

from shared.policy.threats.finding import Finding, shown

TOOLS_MAX: Final = 1_024


class ToolDrift:
    """Remembers the digest of each tool as it was first seen, or approved, and tells each other one.

    `known` are digests by name, from a store or a signed bundle; `tools_max` tools are remembered, further ones are
    told once as `unremembered`, so that filling the memory does not switch the detector off unseen.
    """

    def __init__(self, known: Mapping[str, str] | None = None, *, tools_max: int = TOOLS_MAX) -> None:
        self._digests = dict(known or {})
        self._tools_max = tools_max

    @property
    def digests(self) -> Mapping[str, str]:
        """To be stored."""
        return dict(self._digests)

    def approve(self, tool: str, digest: str) -> None:
        """From now on this is the tool."""
        self._digests[tool] = digest

    def on_tool(self, tool: str, digest: str) -> Finding | None:
        """A tool as it is offered now. Told until it is approved: the change stays one."""
        known = self._digests.get(tool)
        if known is None and len(self._digests) < self._tools_max:
            self._digests[tool] = digest
            return None
        if known == digest:
            return None
        if known is None:
            return Finding(
                detector="tool_drift",
                severity="medium",
                evidence={"tool": shown(tool), "is": shown(digest), "tools_max": self._tools_max},
                sentence="There are more tools than are remembered, so that this one cannot be compared.",
            )
        return Finding(
            detector="tool_drift",
            severity="high",
            evidence={"tool": shown(tool), "was": shown(known), "is": shown(digest)},
            sentence=f"The description or the parameters of the tool {shown(tool)!r} changed.",
        )
