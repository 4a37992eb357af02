"""Tools that are no longer the ones that people knew ("rug pull"): what a model is told of them has changed.

Looked at when the device starts and when rules are activated. A tool is known by the fingerprint in its contract;
without one by what it was when rules were last activated, or when it was first seen. A drifted tool is told once, and
counts as a finding in every task until it is what it was, or newer rules know it: each prompt holds what it says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edge.core.turn import ToolSpec
from edge.ports import Draft, Journal, SeenTool, ToolStore
from shared.policy.contracts import Consequence, Package
from shared.policy.fingerprint import tool_digest

if TYPE_CHECKING:
    from shared.policy.threats import Finding

DETECTOR: Final = "tool_drift"


class Drift:
    """Compares the tools of this device with what was known of them."""

    def __init__(
        self,
        *,
        tools: Sequence[ToolSpec],
        store: ToolStore,
        journal: Journal,
        drafts: "Callable[[tuple[Finding, ...], Package], list[Draft]]",
    ) -> None:
        """`drafts`: the records of findings."""
        self._tools = tools
        self._store = store
        self._journal = journal
        self._drafts = drafts
        self._drifted: frozenset[str] = frozenset()

    @property
    def drifted(self) -> frozenset[str]:
        """The tools that are others than were known."""
        return self._drifted

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the tools as they are now, by name: what a contract may hold them to."""
        return {tool.name: digest_of(tool) for tool in self._tools}

    async def look(self, package: Package, *, is_new: bool) -> Consequence | None:
        """Compare. `is_new`: the rules were activated just now, so they are about the tools as they are.

        Returns what follows by the rules if there is news. Raises what the store and the journal raise.
        """
        seen = {each.tool: each for each in await self._store.tools()}
        known = {name: each.digest for name, each in seen.items()}
        if is_new:
            known = {}
        known |= {name: tool.fingerprint for name, tool in package.tools.items() if tool.fingerprint}
        digests = self.fingerprints
        self._drifted = frozenset(
            name for name, digest in digests.items() if known.get(name, digest) != digest
        )
        news = {
            name: digests[name]
            for name in self._drifted
            if name not in seen or seen[name].told != digests[name]
        }
        if news:
            await self._journal.append(*self._drafts(_findings(known, news), package), durable=True)
        rows = [
            SeenTool(tool=name, digest=known.get(name, digest), told=digest if name in self._drifted else "")
            for name, digest in sorted(digests.items())
        ]
        if rows != list(seen.values()):
            await self._store.see(rows)
        return package.consequence(DETECTOR) if news else None


def _findings(known: Mapping[str, str], news: Mapping[str, str]) -> "tuple[Finding, ...]":
    from shared.policy.threats import ToolDrift  # loaded with the first news: an idle device does without

    drift = ToolDrift(known)
    found = [drift.on_tool(name, digest) for name, digest in sorted(news.items())]
    return tuple(finding for finding in found if finding is not None)


def digest_of(tool: ToolSpec) -> str:
    """The fingerprint of a tool: of its description and of the arguments that it takes."""
    return tool_digest(tool.description, {"choices": [dict(choice) for choice in tool.choices]})
