"""What finishes a run that money stopped: the commands, in order, that take away whatever refuses it now."""

from decimal import ROUND_CEILING, Decimal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.money import format_usd
    from domain.progress import Progress
    from domain.refusals import Standing

# About what an article holds at the default route's prices; only a suggestion is made of it.
ARTICLE_USD = Decimal("0.06")
CENT = Decimal("0.01")


def money_commands(progress: Progress) -> list[str]:
    """Without the retry after them. Empty when nothing refuses any more: a new month, a raised cap, a thawed scope."""
    standing, id_ = progress.standing, progress.workflow_id
    if standing is None:
        return [f"starter.py raise-cap {id_} {format_usd(_enough(progress))}"]
    raised = _raised_cap(progress, standing)
    commands = ["starter.py prices add FILE"] if standing.lacks_a_price else []
    if standing.is_frozen:
        commands.append(f"starter.py thaw {id_} --reason TEXT")
    caps = _plan_caps(progress, standing, raised or progress.cap_usd)
    if caps:
        commands.append(f"starter.py plans set {standing.plan_key} {caps}")
    if raised is not None:
        commands.append(f"starter.py raise-cap {id_} {format_usd(raised)}")
    return commands


def is_short_of_its_cap(progress: Progress) -> bool:
    """The workflow's own cap stops it, whatever else does."""
    standing = progress.standing
    if standing is None or progress.articles.not_begun:
        return True
    return standing.workflow_is_used_up(progress.cap_usd, _used(progress))


def _raised_cap(progress: Progress, standing: Standing) -> Decimal | None:
    """None where the workflow's own cap refuses nothing. Not above its plan's cap where that is enough, too."""
    if not is_short_of_its_cap(progress):
        return None
    next_call = _used(progress) + standing.hold_usd
    enough, least = max(_enough(progress), _to_the_cent(next_call)), max(_least(progress), next_call)
    plan_cap = standing.plan_workflow_cap_usd
    if plan_cap and max(least, progress.cap_usd + CENT) <= plan_cap < enough:
        return plan_cap
    return enough


def _plan_caps(progress: Progress, standing: Standing, cap_usd: Decimal) -> str:
    """Caps of the plan that let this workflow spend up to ``cap_usd``, beside what its organization's month has."""
    words = []
    if standing.plan_allows_no_workflow:
        words.append(f"--workflow-cap {format_usd(cap_usd)}")
    if standing.month_is_used_up:
        to_come = max(cap_usd - _used(progress), standing.hold_usd)
        words.append(f"--month-cap {format_usd(_to_the_cent(standing.month_used_usd + to_come))}")
    return " ".join(words)


def _enough(progress: Progress) -> Decimal:
    """A cap that is likely to finish the run: what its unwritten articles need by the prices in force, else twice the
    present one, or what the missing articles may hold."""
    if progress.budget is not None:
        return progress.budget.cap_usd
    return _to_the_cent(max(progress.cap_usd * 2, _least(progress)))


def _least(progress: Progress) -> Decimal:
    if progress.budget is not None:
        return progress.budget.cap_usd
    missing = progress.articles.planned - progress.articles.done
    return _used(progress) + max(missing, 1) * ARTICLE_USD


def _used(progress: Progress) -> Decimal:
    return progress.spent_usd + progress.held_usd


def _to_the_cent(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, rounding=ROUND_CEILING)
