"""The proof under a sandbox run: what the ledger booked beside what the sandbox's own bill says it charged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from commands.exits import CommandError, ExitCode, unreachable
from commands.session import Session
from commands.terminal import counted
from db.overview import BookedAttempt, FoundWorkflow, booked_attempts
from domain.money import format_usd
from domain.spend import AttemptState

BILL_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class BillCheck:
    """``differences`` are one line each; ``unknown`` counts attempts whose cost is not known and stays held."""

    ledger_usd: Decimal
    bill_usd: Decimal
    charged: int
    unknown: int
    differences: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def words(self) -> str:
        if self.differences:
            return f"ledger ≠ the sandbox's bill: {self.differences[0]}"
        held = f"; {counted(self.unknown, 'call')} of unknown cost stay held" if self.unknown else ""
        return f"ledger = the sandbox's bill, to the last digit{held}"


def compare(attempts: Sequence[BookedAttempt], charged: Mapping[UUID, Decimal]) -> BillCheck:
    """``charged`` is the bill by attempt; lines of other runs are left out by the caller.

    A settled attempt is booked at what was charged; one of unknown cost holds at least that much.
    """
    differences = []
    for attempt in attempts:
        on_bill = charged.get(attempt.attempt_id, Decimal(0))
        if attempt.state == AttemptState.UNKNOWN:
            if attempt.hold_usd < on_bill:
                differences.append(_difference(attempt, attempt.hold_usd, on_bill, "held"))
        elif attempt.booked_usd != on_bill:
            differences.append(_difference(attempt, attempt.booked_usd, on_bill, "booked"))
    settled = [attempt for attempt in attempts if attempt.state != AttemptState.UNKNOWN]
    return BillCheck(
        ledger_usd=sum((attempt.booked_usd for attempt in settled), Decimal(0)),
        bill_usd=sum((charged.get(attempt.attempt_id, Decimal(0)) for attempt in settled), Decimal(0)),
        charged=len(charged),
        unknown=len(attempts) - len(settled),
        differences=tuple(differences),
    )


def _difference(attempt: BookedAttempt, ours: Decimal, theirs: Decimal, word: str) -> str:
    return (
        f"attempt {attempt.attempt_id} ({attempt.state}) is {word} at ${format_usd(ours)}, billed ${format_usd(theirs)}"
    )


async def check_bill(session: Session, found: FoundWorkflow) -> BillCheck:
    """Raises when the sandbox does not answer."""
    async with session.transaction(found.organization_id) as connection:
        attempts = await booked_attempts(connection, found.workflow_id)
    ids = {attempt.attempt_id for attempt in attempts}
    charged: dict[UUID, Decimal] = {}
    for line in await _bill(session):
        attempt_id = _uuid(line.get("client_request_id"))
        if attempt_id in ids:
            charged[attempt_id] = charged.get(attempt_id, Decimal(0)) + Decimal(str(line["cost_usd"]))
    return compare(attempts, charged)


async def _bill(session: Session) -> list[dict[str, object]]:
    import httpx2

    url = session.settings.sandbox_url
    if not url:
        raise CommandError("ConfigurationError", "there is no sandbox to compare the ledger with", ExitCode.BAD_INPUT)
    try:
        async with httpx2.AsyncClient(timeout=BILL_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{url}/bill")
            answer.raise_for_status()
            lines: list[dict[str, object]] = answer.json()
    except httpx2.HTTPError as error:
        raise unreachable(f"the sandbox's bill can't be read at {url}/bill: {error}") from error
    return lines


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
