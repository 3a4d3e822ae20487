"""A person lets fallen clusters go on, with a reason that stays."""

from collections.abc import Sequence
from uuid import uuid4

from activities.validation import OVERRIDE_GOES_TO, check_overridable
from commands.deciding import decided, record_of
from commands.exits import CommandError, ExitCode, conflict, not_found
from commands.session import Session
from db.clusters import ClusterRow, load_clusters
from db.overview import FoundWorkflow
from db.workflows import WorkflowRecord
from domain.decisions import OverrideClusters
from domain.errors import BadInputError, WorkflowTransitionError
from domain.states import DERIVED_VIEW, State, is_terminal

REASON_CHARACTERS_MAX = 500


async def override(session: Session, workflow: str, wanted: Sequence[str], reason: str) -> ExitCode:
    """The clusters named go on with the run, as far as it can still be changed."""
    from commands.runs import send

    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_CHARACTERS_MAX:
        raise BadInputError(f"--reason must say in 1 to {REASON_CHARACTERS_MAX} characters why they go on", "reason")
    found = await session.find(workflow)
    record = await record_of(session, found)
    chosen = await _chosen(session, found, record, wanted)
    decision = OverrideClusters(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        cluster_ids=tuple(row.cluster_id for row in chosen),
        reason=reason,
    )
    progress = await send(await session.client(), session.settings, record, "override_clusters", decision)
    for row in chosen:
        session.terminal.say(f'✔ "{row.hub}" goes on: overridden by {session.actor}: {reason}')
    facts = {"overridden": [row.hub for row in chosen], "actor": session.actor, "reason": reason}
    return decided(session, progress, _what_follows(record.state), facts)


async def _chosen(
    session: Session, found: FoundWorkflow, record: WorkflowRecord, wanted: Sequence[str]
) -> list[ClusterRow]:
    async with session.transaction(found.organization_id) as connection:
        rows = await load_clusters(connection, found.workflow_id)
    if not rows:
        raise not_found(f"{found.name} has no clusters yet: it is in {found.state}")
    chosen = list(dict.fromkeys(find_cluster(rows, name).cluster_id for name in wanted))
    by_id = {row.cluster_id: row for row in rows}
    check_state(record)
    for cluster_id in chosen:
        check_overridable(by_id[cluster_id])
    return [by_id[cluster_id] for cluster_id in chosen]


def find_cluster(rows: Sequence[ClusterRow], name: str) -> ClusterRow:
    """By number as `show ID clusters` gives it, hub, id or beginning of an id. Raises BadInputError otherwise."""
    if name.isascii() and name.isdigit() and 1 <= int(name) <= len(rows):
        return rows[int(name) - 1]
    folded = " ".join(name.casefold().split())
    exact = [row for row in rows if folded in (row.hub.casefold(), str(row.cluster_id))]
    found = exact or [row for row in rows if len(folded) >= 4 and str(row.cluster_id).startswith(folded)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} {row.hub}" for number, row in enumerate(rows, start=1))
    raise BadInputError(f"{name!r} is no cluster of this workflow; there are: {listed}", "cluster")


def check_state(record: WorkflowRecord) -> None:
    """Raises the conflict where an override can't take effect (any more)."""
    if record.state not in OVERRIDE_GOES_TO:
        raise _conflict(record)


def _conflict(record: WorkflowRecord) -> CommandError:
    label = DERIVED_VIEW[record.state].label
    places = ", ".join(OVERRIDE_GOES_TO)
    message = f"a cluster can be overridden in {places}, and {record.name} is in {record.state} ({label})"
    if is_terminal(record.state):
        message += ": it is over; start a workflow of its own for this cluster"
    kind = WorkflowTransitionError.__name__
    return conflict(
        message,
        current=record.state,
        expected=State.VALIDATION_FAILED,
        attempted=State.VALIDATION_PROCESSING,
        kind=kind,
    )


def _what_follows(state: State) -> str:
    if state is State.VALIDATION_FAILED:
        return "the clusters are validated again with it"
    return "its hub is written beside the articles there are, its spokes as far as the brief's limit has room"
