"""The card the Temporal UI shows of a run: where it stands, what it spent, what it waits for, what to do."""

from decimal import ROUND_CEILING, Decimal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.money import format_usd
    from domain.progress import Progress
    from domain.states import DERIVED_VIEW, State, Status, status_of, step_number, step_of

# About what an article holds at the default route's prices; only a suggestion is made of it.
ARTICLE_USD = Decimal("0.06")
CENT = Decimal("0.01")
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
        case State.CLUSTERING_FAILED | State.VALIDATION_FAILED:
            return f"starter.py review {id_} --reopen"
    if status_of(progress.state) is not Status.FAILED:
        return ""
    if progress.failure is not None and _is_about_money(progress):
        return f"starter.py raise-cap {id_} {format_usd(_enough(progress))} && starter.py retry {id_}"
    return f"starter.py retry {id_}"


def _enough(progress: Progress) -> Decimal:
    """A cap that is likely to finish the run: what its unwritten articles need by the prices in force, else twice the
    present one, or what the missing articles may hold."""
    if progress.budget is not None:
        return progress.budget.cap_usd
    missing = progress.articles.planned - progress.articles.done
    wanted = progress.spent_usd + progress.held_usd + max(missing, 1) * ARTICLE_USD
    return max(progress.cap_usd * 2, wanted).quantize(CENT, rounding=ROUND_CEILING)


def _is_about_money(progress: Progress) -> bool:
    failure = progress.failure
    return failure is not None and any(
        code in ("cap_reached", "CapReachedError") for code in (failure.type, *(r.code for r in failure.reasons))
    )


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
        lines.append(f"- the cap does not cover {progress.budget.words}")
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
