"""The table of the seven steps: what each gave, how long it took, what it cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import chain, pairwise
from textwrap import wrap
from typing import Any

from commands.snapshot import Snapshot
from commands.terminal import counted, dollars, duration
from db.overview import ArticleOverview
from domain.publishing import PublicationState
from domain.states import STEPS, State, Status, Step, status_of, step_number, step_of
from domain.validation import OVERRIDDEN
from domain.verdict import Level

LABELS = {
    Step.ICP: "ICP",
    Step.COMPETITOR: "competitor",
    Step.SEED_REVIEW: "seed review",
    Step.CLUSTERING: "clustering",
    Step.VALIDATION: "validation",
    Step.ARTICLE: "article",
    Step.PUBLISH: "publish",
}
LABEL_WIDTH = 13
NUMBERS_WIDTH = 20
DETAIL_WIDTH_MIN = 16
ICP_LISTS = ("industries", "buyer_roles", "pains", "goals", "triggers", "alternatives", "disqualifiers")
PUBLISHED = ("PUBLISHED", "UNCHANGED")


class Mark(StrEnum):
    """What became of a step, as the sign in front of it."""

    DONE = "✔"
    FAILED = "✘"
    WORKING = "…"
    WAITING = "?"
    CANCELLED = "-"
    AHEAD = " "


STYLES = {Mark.DONE: "green", Mark.FAILED: "red", Mark.WAITING: "yellow", Mark.CANCELLED: "yellow", Mark.AHEAD: "dim"}


@dataclass(frozen=True)
class StepLine:
    """``seconds`` is None before the step began; ``cost_usd`` is zero where nothing was paid."""

    step: Step
    mark: Mark
    detail: str
    seconds: float | None
    cost_usd: Decimal

    @property
    def style(self) -> str:
        return STYLES.get(self.mark, "")

    def rows(self, width: int, mark: str = "") -> list[str]:
        """The line folded to ``width`` columns: numbers stand in columns, nothing is cut."""
        from rich.cells import cell_len

        space = max(width - LABEL_WIDTH - NUMBERS_WIDTH - 6, DETAIL_WIDTH_MIN)
        first, *rest = wrap(self.detail, space) or [""]
        seconds = "" if self.seconds is None else duration(self.seconds)
        cost = dollars(self.cost_usd) if self.cost_usd else ""
        head = f"  {mark or self.mark} {step_number(self.step)} {LABELS[self.step]:<{LABEL_WIDTH}}"
        numbers = f"{seconds:>9} {cost:>10}"
        padding = " " * max(space - cell_len(first), 0)
        return [f"{head}{first}{padding}{numbers}".rstrip(), *(" " * (LABEL_WIDTH + 6) + text for text in rest)]


def step_lines(snapshot: Snapshot) -> list[StepLine]:
    seconds = seconds_by_step(snapshot)
    return [
        StepLine(
            step=step,
            mark=mark_of(snapshot, step),
            detail=detail_of(snapshot, step),
            seconds=seconds.get(step),
            cost_usd=snapshot.costs[step].cost_usd if step in snapshot.costs else Decimal(0),
        )
        for step in STEPS
    ]


def mark_of(snapshot: Snapshot, step: Step) -> Mark:
    current = snapshot.step
    if current is None or STEPS.index(step) > STEPS.index(current):
        return Mark.AHEAD
    if STEPS.index(step) < STEPS.index(current):
        return Mark.DONE
    match status_of(snapshot.state):
        case Status.COMPLETED:
            return Mark.DONE
        case Status.FAILED:
            return Mark.FAILED
        case Status.CANCELLED:
            return Mark.CANCELLED
    return Mark.WAITING if snapshot.waits_for else Mark.WORKING


def seconds_by_step(snapshot: Snapshot) -> dict[Step, float]:
    """Time spent in each step's states by the audit, all claims together; time parked in a failure is not counted."""
    moments = chain([(State.CREATED, snapshot.record.created_at)], ((row.to_state, row.at) for row in snapshot.audit))
    seconds: dict[Step, float] = {}
    for (state, since), (_, until) in pairwise([*moments, (snapshot.state, snapshot.now)]):
        step = step_of(state)
        if step is not None and status_of(state) not in (Status.FAILED, Status.COMPLETED):
            seconds[step] = seconds.get(step, 0.0) + max((until - since).total_seconds(), 0.0)
    return seconds


# What each step gave ---------------------------------------------------------------------------------------------


def detail_of(snapshot: Snapshot, step: Step) -> str:
    mark = mark_of(snapshot, step)
    if mark is Mark.AHEAD:
        return ""
    if mark is Mark.FAILED and snapshot.progress.failure is not None:
        return f"parked in {snapshot.state}: {snapshot.progress.failure.message}"
    if mark is Mark.CANCELLED:
        return "cancelled here"
    if step is Step.SEED_REVIEW:
        return _seed_review_detail(snapshot, mark)
    if step is Step.ARTICLE:
        return _article_detail(snapshot, mark)
    if step is Step.PUBLISH:
        return _publish_detail(snapshot, mark)
    if mark is not Mark.DONE:
        return WORKING_WORDS[step]
    return {
        Step.ICP: icp_summary,
        Step.COMPETITOR: competitor_summary,
        Step.CLUSTERING: clustering_summary,
        Step.VALIDATION: validation_summary,
    }[step](snapshot)


WORKING_WORDS = {
    Step.ICP: "reads the site and asks who buys, and why",
    Step.COMPETITOR: "reads the competitors' pages and looks for keywords",
    Step.CLUSTERING: "sorts the keywords into hubs and spokes",
    Step.VALIDATION: "checks the clusters",
}


def icp_summary(snapshot: Snapshot) -> str:
    profile = snapshot.output(Step.ICP)
    items = sum(len(profile.get(name, ())) for name in ICP_LISTS) + 1  # the value proposition
    proven = len({evidence["field"] for evidence in profile.get("evidence", ())})
    roles, pains = len(profile.get("buyer_roles", ())), len(profile.get("pains", ()))
    industries = counted(len(profile.get("industries", ())), "industry", "industries")
    return f"{industries}, {counted(roles, 'role')}, {counted(pains, 'pain')}, {proven} of {items} items with evidence"


def competitor_summary(snapshot: Snapshot) -> str:
    analysis = snapshot.output(Step.COMPETITOR)
    competitors = analysis.get("competitors", ())
    pages = sum(competitor.get("pages_read", 0) for competitor in competitors)
    failed = [competitor["domain"] for competitor in competitors if not competitor.get("pages_read")]
    unread = f" ({', '.join(failed)} could not be read)" if failed else ""
    keywords = counted(len(analysis.get("keywords", ())), "seed keyword")
    return f"{counted(len(competitors) - len(failed), 'site')}{unread}, {counted(pages, 'page')} read, {keywords}"


def clustering_summary(snapshot: Snapshot) -> str:
    found = snapshot.output(Step.CLUSTERING)
    clusters, leftovers = found.get("clusters", ()), found.get("leftovers", ())
    keywords = sum(1 + len(cluster.get("spokes", ())) for cluster in clusters)
    return f"{counted(len(clusters), 'cluster')}, {counted(keywords, 'keyword')}, {len(leftovers)} left over"


def validation_summary(snapshot: Snapshot) -> str:
    clusters = snapshot.output(Step.VALIDATION).get("clusters", ())
    fallen = [cluster for cluster in clusters if not cluster.get("is_valid")]
    said = [
        f'"{cluster["hub"]}" {reason["message"]}' for cluster in clusters for reason in _reasons(cluster, OVERRIDDEN)
    ]
    valid = "; ".join([f"{len(clusters) - len(fallen)} of {len(clusters)} valid", *said])
    if not fallen:
        return valid
    why = next((reason["message"] for reason in fallen[0].get("reasons", ()) if _blocks(reason)), "see `show clusters`")
    more = f" (and {len(fallen) - 1} more)" if len(fallen) > 1 else ""
    return f"{valid}: {why}{more}"


def _reasons(cluster: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [reason for reason in cluster.get("reasons", ()) if reason.get("code") == code]


def _blocks(reason: dict[str, Any]) -> bool:
    return bool(reason.get("level", Level.BLOCK) == Level.BLOCK)


def _seed_review_detail(snapshot: Snapshot, mark: Mark) -> str:
    shown = len(snapshot.keywords)
    if mark is not Mark.DONE:
        return f"{counted(shown, 'keyword')} to review" + (": waits for a person" if mark is Mark.WAITING else "")
    approved = [keyword for keyword in snapshot.keywords if keyword.decision == "approved"]
    added = sum(1 for keyword in snapshot.keywords if keyword.added_by)
    reviewers = {keyword.decided_by or "" for keyword in approved}
    who = "auto" if any(name.startswith("auto-approve") for name in reviewers) else ", ".join(sorted(reviewers))
    own = f", {added} added" if added else ""
    return f"{len(approved)} of {shown} approved{own}" + (f" ({who})" if who else "")


def _article_detail(snapshot: Snapshot, mark: Mark) -> str:
    articles = snapshot.articles
    passed = sum(1 for article in articles if article.accepted_revision is not None)
    if mark is Mark.DONE:
        return _articles_done(articles, passed)
    at_work = [article for article in articles if article.state == "WRITING"]
    if not articles:
        return "plans the articles"
    return f"{passed} of {len(articles)}" + "".join(f' · "{_title(article)}": {_part(article)}' for article in at_work)


def _articles_done(articles: Iterable[ArticleOverview], passed: int) -> str:
    articles = list(articles)
    left = [article for article in articles if article.accepted_revision is None]
    words = f"{passed} of {len(articles)} passed their gates"
    if not left:
        return words
    reason = left[0].reasons[0].message if left[0].reasons else "not written"
    more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    return f'{words}: "{_title(left[0])}": {reason}{more}'


def _title(article: ArticleOverview) -> str:
    return article.title or article.keyword


def _part(article: ArticleOverview) -> str:
    if article.sections_planned is None:
        return "outline"
    return f"sections {article.sections_written} of {article.sections_planned}"


def _publish_detail(snapshot: Snapshot, mark: Mark) -> str:
    if mark is Mark.WAITING:
        passed = sum(1 for article in snapshot.articles if article.accepted_revision is not None)
        return f"{counted(passed, 'article')} to approve: waits for a person"
    published = sum(1 for article in snapshot.articles if article.publication_state in PUBLISHED)
    taken_back = sum(1 for article in snapshot.articles if article.publication_state == PublicationState.UNPUBLISHED)
    if taken_back:
        gone = f"{counted(taken_back, 'page')} unpublished"
        return f"{counted(published, 'page')}, {gone}" if published else gone
    return counted(published, "page") + ("" if mark is Mark.DONE else " so far")
