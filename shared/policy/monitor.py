"""The reference monitor (Anderson, "Computer security technology planning study", 1972): it is always asked, it
cannot be changed by what it judges, and it is small enough to be read.

Pure: a decision follows from the bundle and the situation alone. What the model says plays no part in it. Checks that
need no rule come first, each a no that no rule can overrule; then the rules of the package (Cedar) decide. What would
lift a rule's no (people's approval, redaction) is not guessed: the rules are asked again as if it were given.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.policy.arguments import ArgumentError, Call, canonical_json, normalise, shown
from shared.policy.bundle import Bundle, BundleError
from shared.policy.context import cedar_context
from shared.policy.contracts import ACTIONS, Package, SideEffect, ToolContract
from shared.policy.decisions import (
    NO_RULE,
    Allow,
    Approval,
    Decision,
    Deny,
    DeviceFacts,
    NeedsApproval,
    Situation,
    Transform,
)
from shared.policy.redactor import PackageRedactor
from shared.policy.rules import Rule, RuleSet, Verdict
from shared.policy.schema import RESOURCE_TYPES, TOOL

STOPPED: Final = Deny(
    rule="stopped",
    sentence="This device has been stopped by a person; it does nothing until it is released.",
    hint="Wait; only a person can release it.",
)
ASKED_ROUNDS_MAX: Final = 3
"""As often as a no may lead to another question: first redaction, then approval."""


class Redactor(Protocol):
    """Takes classes of personal data out of values."""

    def __call__(self, value: object, classes: Collection[str]) -> object: ...


class Monitor(Protocol):
    """Who is asked before anything is done."""

    def decide(self, situation: Situation) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """Without a bundle that holds: reading is allowed, by what the tools' own code says of them, and nothing else.

    `why` is told with every no. The person who asked still gets an answer, and the device remembers for itself what it
    was asked and did, as its journal does.
    """

    why: str
    side_effects: Mapping[str, SideEffect]
    allowed: frozenset[str] = frozenset({"message.person", "memory.read"})

    def decide(self, situation: Situation) -> Decision:
        """Allow what only reads."""
        contract = ACTIONS.get(situation.tool)
        try:
            if contract is not None:
                call = normalise(situation.tool, contract, situation.arguments)
            else:
                call = _as_it_is(situation)
        except ArgumentError as error:
            return _argument_denial(error)
        is_for_itself = situation.tool == "memory.write" and call.values()["scope"] in ("task", "device")
        if (
            is_for_itself
            or situation.tool in self.allowed
            or (contract is None and self.side_effects.get(situation.tool) == "none")
        ):
            return Allow(call=call, rules=("baseline",))
        return Deny(
            rule="baseline",
            sentence=f"{self.why} Until it has rules that hold it reads, and remembers for itself;"
            f" {situation.tool} is more.",
            hint="Answer with what reading tells, or say that it cannot be done now.",
        )


def _as_it_is(situation: Situation) -> Call:
    try:
        return Call(situation.tool, canonical_json(dict(situation.arguments)))
    except (TypeError, ValueError, RecursionError):
        raise ArgumentError("The arguments are no plain JSON.") from None


class RuleMonitor:
    """A bundle that holds."""

    def __init__(self, package: Package, rule_sets: Mapping[str, RuleSet], redact: Redactor) -> None:
        self._package = package
        self._contracts = package.contracts()
        self._lattice = package.lattice
        self._sets = rule_sets
        self._redact = redact

    @property
    def package(self) -> Package:
        """What it goes by, beside the rules."""
        return self._package

    def reads_arguments(self, action: str) -> bool:
        """Whether a rule or an obligation looks at what the action says."""
        contract = self._contracts.get(action)
        if contract is None:
            return True
        uses = self._sets[action].uses
        is_read = uses is None or bool(uses.keys() & {"args", "origins", "recipient_labels"})
        return is_read or contract.sink is not None or bool(self._obliged(action, contract))

    def decide(self, situation: Situation) -> Decision:
        """Judge one action. Never raises: whatever fails inside is a no."""
        try:
            return self._decide(situation)
        except ArgumentError as error:
            return _argument_denial(error)
        except Exception as error:  # noqa: BLE001  # fail closed, and say what failed
            return Deny(
                rule="internal",
                sentence=f"The rules could not be asked about {situation.tool} ({type(error).__name__}).",
                hint="Do something else; whoever looks after this device has to look at its log.",
            )

    def _decide(self, situation: Situation) -> Decision:
        contract = self._contracts.get(situation.tool)
        if contract is None:
            return Deny(
                rule="unknown_tool",
                sentence=f"The rules of this device do not know the tool {shown(situation.tool)}.",
                hint=f"Use one of: {', '.join(sorted(self._package.tools)) or 'none'}.",
            )
        call = normalise(situation.tool, contract, situation.arguments)
        no = _spent(situation) or _too_often(contract, situation) or self._paused(situation, contract)
        if no is not None:
            return no
        labels = self._lattice.join(situation.labels)
        redacted = self._obliged(situation.tool, contract)
        exceeding: frozenset[str] = frozenset()
        if contract.sink is not None:
            exceeding = self._lattice.exceeding(labels, contract.sink.cleared)
            stuck = sorted(label for label in exceeding if not self._lattice.lifted_by(label))
            if stuck:
                return Deny(
                    rule="sink",
                    sentence=f"{situation.tool} sends things out, and may not send what is {_and(stuck)}.",
                    hint="Leave that out by starting anew without it, or use what may hold it.",
                )
            redacted |= {cls for label in exceeding for cls in self._lattice.lifted_by(label)}
        return self._by_rules(situation, contract, call, labels - exceeding, redacted)

    def _paused(self, situation: Situation, contract: ToolContract) -> Deny | None:
        """A no because of what a detector said in this task, for all that does more than read."""
        if not _acts(situation.tool, contract):
            return None
        for finding in sorted(situation.findings):
            if self._package.consequence(finding) in ("pause", "quarantine"):
                return Deny(
                    rule=f"threat.{finding}",
                    sentence=f"Something in this task looks like an attack ({finding}); it does no more than read.",
                    hint="Say so in the answer; a person has to look at it.",
                )
        return None

    def _wary(self, situation: Situation, contract: ToolContract) -> frozenset[str]:
        """Roles that have to agree because of what a detector said in this task."""
        if not situation.findings or not _acts(situation.tool, contract):
            return frozenset()
        threats = self._package.threats
        return frozenset(
            role for finding in situation.findings if finding in threats for role in threats[finding].roles
        )

    def _obliged(self, tool: str, contract: ToolContract) -> frozenset[str]:
        return frozenset(
            cls
            for obligation in self._package.obligations
            if obligation.direction == "out"
            and (tool in obligation.tools if obligation.tools else contract.sink is not None)
            for cls in obligation.redact
        )

    def _by_rules(
        self,
        situation: Situation,
        contract: ToolContract,
        call: Call,
        labels: frozenset[str],
        redacted: frozenset[str],
    ) -> Decision:
        for _ in range(ASKED_ROUNDS_MAX):
            final = self._without(call, contract, redacted)
            approved = _roles_of([
                approval for approval in situation.approvals if _counts_for(approval, final, situation)
            ])  # fmt: skip
            verdict = self._ask(situation, final, labels, approved, redacted)
            missing = (frozenset(contract.approvals) | self._wary(situation, contract)) - approved
            if verdict.is_allowed and not missing:
                if final != call:
                    return Transform(
                        call=final, redactions=tuple(sorted(redacted)), rules=verdict.determining
                    )
                return Allow(call=final, rules=verdict.determining)
            if verdict.is_broken:
                return _broken(situation)
            rules = self._sets[situation.tool].rules
            lifts = self._lifts(verdict, rules)
            if lifts is None:
                return self._denial(situation, verdict, rules)
            roles, classes = lifts
            if classes - redacted:
                redacted |= classes
                continue
            asked = (roles | missing) - approved
            with_yes = self._ask(situation, final, labels, approved | asked, redacted)
            if not asked or not with_yes.is_allowed:
                return self._denial(situation, with_yes if asked else verdict, rules)
            return self._needs(final, asked, verdict, rules, redacted if final != call else frozenset())
        return _broken(situation)

    def _ask(
        self,
        situation: Situation,
        call: Call,
        labels: frozenset[str],
        approved: frozenset[str],
        redacted: frozenset[str],
    ) -> Verdict:
        rules = self._sets[situation.tool]
        context = cedar_context(
            self._contracts,
            situation,
            call.values(),
            labels=labels,
            approved_by=approved,
            redacted=redacted,
            uses=rules.uses,
        )
        return rules.ask(
            principal=situation.device.principal,
            action=situation.tool,
            resource=_resource(situation, call),
            context=context,
        )

    @staticmethod
    def _lifts(verdict: Verdict, rules: Mapping[str, Rule]) -> tuple[frozenset[str], frozenset[str]] | None:
        """The roles and redactions that could turn the verdict; None: nothing can."""
        if verdict.is_allowed:
            return frozenset(), frozenset()
        against = [rules[rule] for rule in verdict.determining]
        if not against:
            # No rule permits it yet: one that waits for a person may.
            against = [
                rule for rule in rules.values() if rule.is_permit and (rule.approvals or rule.redactions)
            ]
        if not against or any(not rule.approvals and not rule.redactions for rule in against):
            return None
        return (
            frozenset(role for rule in against for role in rule.approvals),
            frozenset(cls for rule in against for cls in rule.redactions),
        )

    @staticmethod
    def _denial(situation: Situation, verdict: Verdict, rules: Mapping[str, Rule]) -> Deny:
        against = [rules[rule] for rule in verdict.determining if not rules[rule].is_permit]
        # What cannot be lifted says more than what can.
        against.sort(key=lambda rule: (bool(rule.approvals or rule.redactions), rule.id))
        if against:
            rule = against[0]
            sentence = rule.reason or f"The rule {rule.id} forbids {situation.tool} here."
            return Deny(rule=rule.id, sentence=sentence, hint=rule.hint)
        hint = next((rule.hint for rule in rules.values() if rule.is_permit and rule.hint), "")
        return Deny(
            rule=NO_RULE, sentence=f"No rule permits {situation.tool} with these arguments here.", hint=hint
        )

    def _needs(
        self,
        call: Call,
        roles: frozenset[str],
        verdict: Verdict,
        rules: Mapping[str, Rule],
        redacted: frozenset[str],
    ) -> NeedsApproval:
        known = [self._package.roles[role] for role in sorted(roles)]
        asking = next(
            (
                rules[rule]
                for rule in verdict.determining
                if not rules[rule].is_permit and rules[rule].approvals
            ),
            None,
        )
        who = _and(sorted(roles))
        return NeedsApproval(
            call=call,
            roles=tuple(sorted(roles)),
            within_s=min(role.within for role in known),
            is_local=all(role.local for role in known),
            rule="approvals" if asking is None else asking.id,
            sentence=(asking.reason if asking is not None else "")
            or f"{who} must agree to {call.tool} first.",
            redactions=tuple(sorted(redacted)),
        )

    def _without(self, call: Call, contract: ToolContract, classes: frozenset[str]) -> Call:
        if not classes:
            return call
        values = call.values()
        # To whom it goes and what it is about are no content: taken out, they would make it another call.
        kept = {
            *((contract.sink.recipient,) if contract.sink is not None else ()),
            *((contract.entity.argument,) if contract.entity is not None else ()),
        }
        clean = self._redact({name: value for name, value in values.items() if name not in kept}, classes)
        assert isinstance(clean, dict)
        clean = {name: clean.get(name, value) for name, value in values.items()}
        return call if clean == values else normalise(call.tool, contract, clean)


def monitor_of(bundle: Bundle, device: DeviceFacts) -> RuleMonitor:
    """The monitor of a bundle on a device. Raises `BundleError` if its rules or labels cannot be read."""
    rules = bundle.rule_sets(principal=device.principal, site=device.site)
    try:
        return RuleMonitor(bundle.package, rules, PackageRedactor(bundle.package.names))
    except KeyError as error:
        raise BundleError(f"A label implies {error}, which is not defined.", code="bundle_broken") from error


def _roles_of(approvals: Sequence[Approval]) -> frozenset[str]:
    """The roles that are spoken for, each by another person: a matching as large as there is (Kuhn, 1955)."""
    wanted: dict[str, list[str]] = {}
    for approval in approvals:
        wanted.setdefault(approval.role, []).append(approval.by)
    speaks: dict[str, str] = {}

    def found(role: str, seen: set[str]) -> bool:
        for person in wanted[role]:
            if person not in seen:
                seen.add(person)
                if person not in speaks or found(speaks[person], seen):
                    speaks[person] = role
                    return True
        return False

    for role in sorted(wanted):
        found(role, set())
    return frozenset(speaks.values())


def _counts_for(approval: Approval, call: Call, situation: Situation) -> bool:
    return (
        approval.digest == call.digest
        and approval.task == situation.task
        and situation.now < approval.expires
    )


def _acts(tool: str, contract: ToolContract) -> bool:
    """Whether it does more than read, and is more than an answer to whoever asked."""
    return tool != "message.person" and (contract.side_effect != "none" or contract.sink is not None)


def _spent(situation: Situation) -> Deny | None:
    left = situation.left
    if situation.tool == "message.person":
        return None  # to say that the budget is spent costs nothing
    for name, rest, what in (
        ("calls", left.calls, "calls"),
        ("tokens", left.tokens, "tokens"),
        ("wall", left.wall_s, "seconds"),
    ):
        if rest <= 0:
            return Deny(
                rule=f"budget.{name}",
                sentence=f"The budget of {what} is spent.",
                hint="Answer with what is known.",
            )
    if situation.tool == "model.escalate" and left.escalations <= 0:
        return Deny(
            rule="budget.escalations",
            sentence="The budget of questions to the hub is spent.",
            hint="Answer with what is known here.",
        )
    return None


def _too_often(contract: ToolContract, situation: Situation) -> Deny | None:
    if len(situation.rates) != len(contract.rates):
        return Deny(rule="rate", sentence=f"Nobody counted how often {situation.tool} was called.", hint="")
    for rate, used in zip(contract.rates, situation.rates, strict=True):
        if used >= rate.max:
            return Deny(
                rule="rate",
                sentence=f"{situation.tool} may be called {rate.max} times in {rate.per} s, and was.",
                hint="Try later.",
            )
    return None


def _resource(situation: Situation, call: Call) -> tuple[str, str]:
    kind = RESOURCE_TYPES.get(situation.tool, TOOL)
    if situation.tool in ("memory.read", "memory.write"):
        return kind, str(call.values()["scope"])
    if situation.tool == "message.peer":
        return kind, str(call.values()["to"])
    if situation.tool in ACTIONS:
        return kind, situation.peer or ("person" if situation.tool == "message.person" else "hub")
    return kind, situation.tool


def _argument_denial(error: ArgumentError) -> Deny:
    return Deny(
        rule="arguments", sentence=str(error), hint="Call it again with arguments as its contract says."
    )


def _broken(situation: Situation) -> Deny:
    return Deny(
        rule="internal",
        sentence=f"A rule about {situation.tool} could not be evaluated.",
        hint="Do something else; the author of the rules has to look at it.",
    )


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
