"""The checkers of the fault bench: ledger, counters, audit and published pages against what really happened.

The oracle of the money is the provider's own bill; the ledger is never checked against itself alone.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.states import LEGAL_TRANSITIONS, State
from tests.conftest import AdminSession
from tests.integration.money_cases import IMBALANCES, MISBOOKED

ZERO = Decimal(0)
OPEN_STATES = frozenset({"RESERVED", "DISPATCHED", "ANSWERED"})
NEVER_BILLED = frozenset({"REFUSED", "EXPIRED"})


@dataclass
class Findings:
    """What one look at a quiet database found. Every violation names its workflow or attempt."""

    violations: list[str] = field(default_factory=list)
    overspend_usd: Decimal = ZERO
    double_settlements: int = 0
    lost_usd: Decimal = ZERO
    audit_gaps: int = 0
    illegal_transitions: int = 0
    duplicate_publishes: int = 0
    written_off_above_bill_usd: Decimal = ZERO
    unknown_open: int = 0
    attempts: int = 0

    def note(self, violation: str) -> None:
        self.violations.append(violation)


@dataclass(frozen=True)
class BillLine:
    attempt_id: UUID | None
    cost_usd: Decimal


def bill_lines(facts: Iterable[Mapping[str, Any]]) -> list[BillLine]:
    """As the provider's ``/bill`` tells them."""
    return [
        BillLine(UUID(line["client_request_id"]) if line["client_request_id"] else None, Decimal(line["cost_usd"]))
        for line in facts
    ]


async def check_money_and_state(admin: AdminSession, bill: Sequence[BillLine], *, may_be_unknown: bool) -> Findings:
    """Everything in the database, which nobody writes to any more."""
    findings = Findings()
    attempts: dict[UUID, Mapping[str, Any]] = {
        row["attempt_id"]: dict(row) for row in await admin.fetch("SELECT * FROM spend_attempts")
    }
    findings.attempts = len(attempts)
    charged = _charged(findings, attempts, bill)
    booked = await _booked(findings, admin)
    for attempt_id, attempt in attempts.items():
        _check_attempt(findings, attempt, charged.get(attempt_id, ZERO), booked.get(attempt_id), may_be_unknown)
    await _check_bill_within_caps(findings, admin, attempts, charged)
    await _check_counters(findings, admin)
    await _check_audit(findings, admin)
    return findings


def _charged(
    findings: Findings, attempts: Mapping[UUID, Mapping[str, Any]], bill: Sequence[BillLine]
) -> dict[UUID, Decimal]:
    """L3 and L7: every line of the bill is of exactly one attempt that was dispatched, and of no attempt twice."""
    charged: dict[UUID, Decimal] = {}
    for line in bill:
        attempt = attempts.get(line.attempt_id) if line.attempt_id else None
        if line.attempt_id is None or attempt is None or attempt["dispatched_at"] is None:
            findings.note(f"the bill has ${line.cost_usd} for {line.attempt_id}, which is no dispatched attempt")
            findings.lost_usd += line.cost_usd
            continue
        if line.attempt_id in charged:
            findings.note(f"attempt {line.attempt_id} was sent twice")
        charged[line.attempt_id] = charged.get(line.attempt_id, ZERO) + line.cost_usd
    return charged


async def _booked(findings: Findings, admin: AdminSession) -> dict[UUID, Decimal]:
    """What the ledger says of each attempt; L8 beside it."""
    rows = await admin.fetch(
        """
        SELECT attempt_id, sum(cost) AS cost, count(*) FILTER (WHERE corrects IS NULL) AS settlements
        FROM ai_usage_ledger GROUP BY attempt_id
        """
    )
    for row in rows:
        if row["settlements"] != 1:
            findings.double_settlements += 1
            findings.note(f"attempt {row['attempt_id']} was settled {row['settlements']} times")
    for row in await admin.fetch(MISBOOKED):
        findings.note(f"attempt {row['attempt_id']} is {row['state']} with {row['settlements']} settlements")
    return {row["attempt_id"]: row["cost"] for row in rows}


def _check_attempt(
    findings: Findings, attempt: Mapping[str, Any], charged: Decimal, booked: Decimal | None, may_be_unknown: bool
) -> None:
    """L7, state by state."""
    name = f"{attempt['step']}/{attempt['slot']}/{attempt['claim']}/{attempt['ask']} ({attempt['attempt_id']})"
    state = attempt["state"]
    if state in OPEN_STATES:
        findings.note(f"{name} is left {state}")
        findings.lost_usd += charged
    elif state == "UNKNOWN":
        findings.unknown_open += 1
        if not may_be_unknown:
            findings.note(f"{name} is left UNKNOWN")
        if attempt["hold_usd"] < charged:
            findings.note(f"{name} holds ${attempt['hold_usd']} for a bill of ${charged}")
            findings.lost_usd += charged - attempt["hold_usd"]
    elif state == "WRITTEN_OFF":
        findings.written_off_above_bill_usd += (booked or ZERO) - charged
        if (booked or ZERO) < charged:
            findings.note(f"{name} is written off at ${booked} for a bill of ${charged}")
            findings.lost_usd += charged - (booked or ZERO)
    elif state in NEVER_BILLED and charged:
        findings.note(f"{name} is {state} and was billed ${charged}")
        findings.lost_usd += charged
    elif (booked or ZERO) != charged:
        findings.note(f"{name} is {state}, booked at ${booked} and billed ${charged}")
        findings.lost_usd += max(charged - (booked or ZERO), ZERO)


async def _check_bill_within_caps(
    findings: Findings, admin: AdminSession, attempts: Mapping[UUID, Mapping[str, Any]], charged: Mapping[UUID, Decimal]
) -> None:
    """L1 by the provider's word alone: what a workflow was billed is within its cap and its recorded overrun."""
    billed: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    for attempt_id, cost_usd in charged.items():
        billed[attempts[attempt_id]["workflow_id"]] += cost_usd
    for row in await admin.fetch("SELECT id, cap_usd + overrun_usd AS allowed_usd FROM intent_workflows"):
        excess = billed[row["id"]] - row["allowed_usd"]
        if excess > 0:
            findings.note(f"workflow {row['id']} was billed ${excess} beyond its cap of ${row['allowed_usd']}")
            findings.overspend_usd += excess


async def _check_counters(findings: Findings, admin: AdminSession) -> None:
    """L1, L9, L10 for every workflow and month."""
    for row in await admin.fetch(IMBALANCES):
        findings.note(f"the counters are off: {dict(row)}")
        excess = row["spent_usd"] + row["held_usd"] - (row["cap_usd"] or ZERO) - row["overrun_usd"]
        findings.overspend_usd += max(excess, ZERO)


async def _check_audit(findings: Findings, admin: AdminSession) -> None:
    """S1 and S3: gapless, legal, from CREATED to the state of the row."""
    trails: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in await admin.fetch("SELECT * FROM workflow_transitions ORDER BY workflow_id, seq"):
        trails.setdefault(row["workflow_id"], []).append(dict(row))
    for row in await admin.fetch("SELECT id, state, version FROM intent_workflows"):
        trail = trails.get(row["id"], [])
        gap = _gap(trail, row["state"], row["version"])
        illegal = [edge for step in trail if (edge := (step["from_state"], step["to_state"])) not in LEGAL_TRANSITIONS]
        findings.audit_gaps += gap is not None
        findings.illegal_transitions += len(illegal)
        for fault in [gap, *(f"{before} → {after} is not legal" for before, after in illegal)]:
            if fault is not None:
                findings.note(f"the audit of workflow {row['id']}: {fault}")


def _gap(trail: Sequence[Mapping[str, Any]], state: str, version: int) -> str | None:
    if [row["seq"] for row in trail] != list(range(1, version + 1)):
        return f"rows {[row['seq'] for row in trail]} for version {version}"
    reached = [State.CREATED, *(row["to_state"] for row in trail)]
    for before, row in zip(reached, trail, strict=False):
        if row["from_state"] != before:
            return f"{row['from_state']} → {row['to_state']} after {before}"
    return None if reached[-1] == state else f"it ends in {reached[-1]}, the row is in {state}"


def _pages_in(output_dir: Path) -> Counter[tuple[str, str]]:
    """By workflow (the folder's name ends with the start of its id) and slug: many runs write of the same."""
    pages = (page for page in output_dir.rglob("*.html") if page.name != "index.html")
    return Counter((page.parent.name.rpartition("-")[2], page.stem) for page in pages)


async def check_published(findings: Findings, admin: AdminSession, output_dir: Path) -> None:
    """Each article that stands published exists once at its target, and nothing else does."""
    rows = await admin.fetch(
        """
        SELECT articles.workflow_id, article_id, publications.slug, publications.state
        FROM publications JOIN articles USING (article_id)
        """
    )
    pages = await asyncio.to_thread(_pages_in, output_dir)
    out = Counter(_place(dict(row)) for row in rows if row["state"] in ("PUBLISHED", "UNCHANGED"))
    begun = Counter(_place(dict(row)) for row in rows if row["state"] != "UNPUBLISHED")
    for place in sorted(pages | begun):
        if not out[place] <= pages[place] <= begun[place]:
            findings.duplicate_publishes += max(pages[place] - begun[place], 0)
            counts = f"{out[place]} stand published, {begun[place]} were begun, {pages[place]} pages exist"
            findings.note(f"{'/'.join(place)}: {counts}")


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["workflow_id"].hex[:8], row["slug"]
