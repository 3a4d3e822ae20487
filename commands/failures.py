"""What a stop says, wherever it shows: what happened, what was kept and spent, what to do, the command to copy."""

from typing import Any

from commands.snapshot import Snapshot
from commands.terminal import counted, dollars
from db.overview import ArticleOverview
from domain.progress import CAP_REACHED
from domain.states import STEPS, State, Status, Step, status_of


def next_command(snapshot: Snapshot) -> str:
    """The command that goes on from here, in the words of the status card; empty when nothing is to be done."""
    if not snapshot.waits_for:
        return ""
    from workflows.status_card import next_command as command_of

    return command_of(snapshot.progress)


def command_after_thaw(snapshot: Snapshot) -> str:
    """What goes on from here once a freeze is lifted; empty where no refusal by a freeze stopped the run."""
    progress = snapshot.progress
    if not progress.needs_money or progress.standing is None or not progress.standing.was_frozen:
        return ""
    return next_command(snapshot)


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


def downgrade_lines(snapshot: Snapshot) -> list[str]:
    """How many calls near the cap were asked of a cheaper model; none where none was."""
    calls = snapshot.downgraded_calls
    if not calls:
        return []
    share = snapshot.progress.settings.spend.downgrade_share
    return [f"  {counted(calls, 'call')} went to the cheaper model past {share * 100:.4g} % of the cap"]


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


def budget_lines(snapshot: Snapshot) -> list[str]:
    """What the cap did not cover, article by article; none when it covered everything."""
    budget = snapshot.progress.budget
    if budget is None:
        return []
    missing = [article for article in snapshot.articles if is_unpaid(article)]
    names = ", ".join(f'"{article.title or article.keyword}"' for article in missing)
    return [f"  not begun {budget.words}: {names}"]


def is_unpaid(article: ArticleOverview) -> bool:
    """The cap kept it from being written or finished."""
    is_missing = article.state in ("NOT_BEGUN", "FAILED")
    return is_missing and any(reason.code == CAP_REACHED for reason in article.reasons)


def stop_lines(snapshot: Snapshot) -> list[str]:
    """The lines under the table of steps for a run that waits or failed; for one that goes on or is completed only
    what the cap did not cover."""
    if not is_failed(snapshot) and not snapshot.waits_for:
        return budget_lines(snapshot)
    lines = budget_lines(snapshot)
    if is_failed(snapshot):
        reasons = snapshot.progress.failure.reasons[1:] if snapshot.progress.failure else ()
        lines += [f"  also      {reason.message}" for reason in reasons]
        lines.append(f"  kept      {kept_words(snapshot)}")
    if snapshot.waits_for and snapshot.progress.waiting is not None:
        lines.append(f"  {snapshot.progress.waiting.words}")
    command = next_command(snapshot)
    if command:
        lines.append(f"  to go on  {command}")
    return lines
