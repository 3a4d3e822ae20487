"""The card the Temporal UI shows of a run: where it stands, what it spent, what it waits for, what to do."""

from temporalio import workflow

from workflows.remedies import is_short_of_its_cap, money_commands

with workflow.unsafe.imports_passed_through():
    from domain.money import format_usd
    from domain.progress import Progress
    from domain.states import DERIVED_VIEW, State, Status, status_of, step_number, step_of

PARKED_PREFIX = "parked: "
CONFLICTS_NOTE = "three lost transitions in a row; look at the history, then retry"


def next_command(progress: Progress) -> str:
    """The command that goes on from here; empty when nothing is to be done."""
    id_ = progress.workflow_id
    match progress.state:
        case State.SEED_REVIEW_PENDING:
            return f"starter.py review {id_}"
        case State.PUBLISH_PENDING if not progress.auto_publish:
            return f"starter.py preview {id_} && starter.py approve {id_}"
    if status_of(progress.state) is not Status.FAILED:
        return ""
    if progress.needs_money:
        return " && ".join((*money_commands(progress), f"starter.py retry {id_}"))
    if progress.state in (State.CLUSTERING_FAILED, State.VALIDATION_FAILED) and progress.is_judged:
        return f"starter.py review {id_} --reopen"
    return f"starter.py retry {id_}"


def status_card(progress: Progress, note: str = "", *, parked: str = "") -> str:
    """``parked``: why the run waits for a person although its row is in no failed state."""
    view = DERIVED_VIEW[progress.state]
    step = step_of(progress.state)
    title = "cancelled" if step is None else f"step {step_number(step)} of 7 · {view.label}"
    articles = progress.articles
    lines = [
        f"**{progress.organization_name}** · {progress.name} · {title}",
        f"- state `{progress.state}`, version {progress.version}",
        f"- spent ${format_usd(progress.spent_usd)} of ${format_usd(progress.cap_usd)}, "
        f"held ${format_usd(progress.held_usd)}",
    ]
    if articles.planned:
        lines.append(f"- articles: {articles.done} of {articles.planned} done, {articles.failed} failed")
    if progress.budget is not None:
        missing = "the cap does not cover" if is_short_of_its_cap(progress) else "not written yet:"
        lines.append(f"- {missing} {progress.budget.words}")
    if progress.failure is not None:
        lines.append(f"- **what happened**: {progress.failure.message}")
    if parked:
        note = PARKED_PREFIX + parked
    if note:
        lines.append(f"- {note}")
    if progress.waiting is not None:
        lines.append(f"- {progress.waiting.words}")
    command = f"starter.py retry {progress.workflow_id}" if parked else next_command(progress)
    if command:
        lines.append(f"- **to go on**: `{command}`")
    return "\n".join(lines)
