"""What a stop says, wherever it shows: what happened, what was kept and spent, what to do, the command to copy."""

from typing import Any

from commands.snapshot import Snapshot
from commands.terminal import counted, dollars
from domain.states import STEPS, State, Status, Step, status_of


def next_command(snapshot: Snapshot) -> str:
    """The command that goes on from here, in the words of the status card; empty when nothing is to be done."""
    if not snapshot.waits_for:
        return ""
    from workflows.status_card import next_command as command_of

    return command_of(snapshot.progress)


def kept_words(snapshot: Snapshot) -> str:
    """What is paid for and stays: "ICP, 41 keywords, 4 clusters, 1 of 3 articles"."""
    reached = STEPS.index(snapshot.step) if snapshot.step else 0
    kept = ["ICP"] if reached > STEPS.index(Step.ICP) else []
    if snapshot.keywords:
        kept.append(counted(len(snapshot.keywords), "keyword"))
    if reached > STEPS.index(Step.CLUSTERING):
        kept.append(counted(len(snapshot.output(Step.CLUSTERING).get("clusters", ())), "cluster"))
    if snapshot.articles:
        passed = sum(1 for article in snapshot.articles if article.accepted_revision is not None)
        kept.append(f"{passed} of {counted(len(snapshot.articles), 'article')}")
    return ", ".join(kept) or "nothing yet"


def spent_words(snapshot: Snapshot) -> str:
    record = snapshot.record
    held = f", held {dollars(record.held_usd)}" if record.held_usd else ""
    return f"spent {dollars(record.spent_usd)} of {dollars(record.cap_usd)}{held} in {counted(snapshot.calls, 'call')}"


def failure_object(snapshot: Snapshot) -> dict[str, Any] | None:
    failure = snapshot.progress.failure
    if failure is None:
        return None
    reasons = [reason.model_dump(mode="json") for reason in failure.reasons]
    return {"type": failure.type, "message": failure.message, "reasons": reasons}


def what_happened(snapshot: Snapshot) -> str:
    """One line on why a run came to rest before its end."""
    if snapshot.state is State.CANCELLED:
        last = snapshot.audit[-1] if snapshot.audit else None
        return f"cancelled by {last.actor}" if last else "cancelled"
    failure = snapshot.progress.failure
    return f"parked in {snapshot.state}" + (f": {failure.message}" if failure else "")


def is_failed(snapshot: Snapshot) -> bool:
    """Did not, and by itself will not, come to its end: parked in a failure, or cancelled."""
    return status_of(snapshot.state) in (Status.FAILED, Status.CANCELLED)


def stop_lines(snapshot: Snapshot) -> list[str]:
    """The lines under the table of steps for a run that waits or failed; none for one that goes on or is completed."""
    if not is_failed(snapshot) and not snapshot.waits_for:
        return []
    lines = []
    if is_failed(snapshot):
        reasons = snapshot.progress.failure.reasons[1:] if snapshot.progress.failure else ()
        lines += [f"  also      {reason.message}" for reason in reasons]
        lines.append(f"  kept      {kept_words(snapshot)}")
    command = next_command(snapshot)
    if command:
        lines.append(f"  to go on  {command}")
    return lines
