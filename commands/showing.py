"""Looking at what was paid for: the profile, the competitors, keywords and clusters, the articles as pages."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from activities.case import Case, load_case
from activities.publish import AcceptedArticle, accepted_articles, publication_of
from commands.exits import CommandError, ExitCode, not_found
from commands.keyword_history import history_objects
from commands.reading import articles as show_articles
from commands.reviewing import keyword_object, show_keywords
from commands.session import Session
from commands.terminal import counted
from db.clusters import ClusterRow, load_clusters
from db.keywords import load_keywords, load_reviews
from db.outputs import StepOutput, latest_output
from db.overview import ArticleOverview, FoundWorkflow, article_overview
from db.pages import load_latest_reads
from domain import publishing
from domain.errors import ConfigurationError
from domain.identifiers import bare_domain
from domain.pages import SiteRead
from domain.preview_page import PREVIEW_FILE, PreviewedArticle, PreviewPage, findings_of, render_preview
from domain.publishing import PublicationState
from domain.states import Step

ICP_ORDER = (
    "value_proposition",
    "industries",
    "firmographics",
    "buyer_roles",
    "pains",
    "goals",
    "triggers",
    "alternatives",
    "disqualifiers",
)
PREVIEW_FOLDER = "preview"
PREVIEW_TARGET = "preview"
QUOTATION_CHARACTERS_MAX = 160


class Topic(StrEnum):
    ICP = "icp"
    COMPETITORS = "competitors"
    KEYWORDS = "keywords"
    CLUSTERS = "clusters"
    ARTICLES = "articles"


async def show(session: Session, workflow: str, topic: Topic) -> ExitCode:
    if topic is Topic.ARTICLES:
        return await show_articles(session, workflow)
    found = await session.find(workflow)
    await {
        Topic.ICP: _show_icp,
        Topic.COMPETITORS: _show_competitors,
        Topic.KEYWORDS: _show_keywords,
        Topic.CLUSTERS: _show_clusters,
    }[topic](session, found)
    return ExitCode.DONE


async def _output(session: Session, found: FoundWorkflow, step: Step, what: str) -> StepOutput:
    async with session.transaction(found.organization_id) as connection:
        stored = await latest_output(connection, found.workflow_id, step)
    if stored is None:
        raise _not_yet(found, what)
    return stored


def _not_yet(found: FoundWorkflow, what: str) -> CommandError:
    return not_found(f"{found.name} has no {what} yet: it is in {found.state}; starter.py watch {found.workflow_id}")


async def _show_icp(session: Session, found: FoundWorkflow) -> None:
    stored = await _output(session, found, Step.ICP, "ICP")
    if session.terminal.as_json:
        session.terminal.emit({**stored.output, "verdict": stored.verdict.model_dump(mode="json")})
        return
    evidence = {item["field"]: item for item in stored.output.get("evidence", ())}
    for name in ICP_ORDER:
        value = stored.output.get(name)
        if value:
            session.terminal.say(name.replace("_", " "), "bold")
            for text in _icp_items(name, value, evidence):
                session.terminal.say(f"  {text}")
    _show_verdict(session, stored)


def _icp_items(name: str, value: Any, evidence: dict[str, Any]) -> list[str]:
    """One line per item, each with the sentence it rests on."""
    if isinstance(value, dict):
        return [f"{key.replace('_', ' ')}: {text}" for key, text in value.items()]
    if isinstance(value, str):
        return [value + _quotation(evidence.get(name))]
    lines = []
    for number, item in enumerate(value):
        words = f"{item.get('role')}: {item.get('decision_power')}" if isinstance(item, dict) else str(item)
        lines.append(f"· {words}" + _quotation(evidence.get(f"{name}.{number}")))
    return lines


def _quotation(item: dict[str, Any] | None) -> str:
    return f'\n      "{_shortened(str(item["quotation"]))}" {item["url"]}' if item else ""


def _shortened(text: str) -> str:
    """For people; the whole sentence is in the JSON."""
    tidy = " ".join(text.split())
    return tidy if len(tidy) <= QUOTATION_CHARACTERS_MAX else f"{tidy[: QUOTATION_CHARACTERS_MAX - 1].rstrip()}…"


async def _show_competitors(session: Session, found: FoundWorkflow) -> None:
    stored = await _output(session, found, Step.COMPETITOR, "competitors")
    competitors = stored.output.get("competitors", [])
    async with session.transaction(found.organization_id) as connection:
        reads = {read.site: read for read in await load_latest_reads(connection, found.workflow_id)}
    if session.terminal.as_json:
        session.terminal.emit([{**one, "skipped": _skipped(reads.pop(one["domain"], None))} for one in competitors])
        return
    for competitor in competitors:
        pages = competitor.get("failure") or f"{counted(competitor.get('pages_read', 0), 'page')} read"
        session.terminal.say(f"{competitor['domain']} · {competitor.get('title', '')}", "bold")
        session.terminal.say(f"  sells    {competitor.get('sells') or 'not said'}")
        session.terminal.say(
            f"  overlap  {competitor.get('overlap')}: {competitor.get('overlap_reason') or 'not said'}"
        )
        session.terminal.say(f"  read     {pages}")
        _say_skipped(session, reads.pop(competitor["domain"], None))
    for read in reads.values():
        session.terminal.say(f"{read.site} · read for this workflow, not a competitor of it", "bold")
        session.terminal.say(f"  read     {read.failure or 'yes'}")
        _say_skipped(session, read)
    _show_verdict(session, stored)


def _skipped(read: SiteRead | None) -> list[dict[str, str]]:
    return [page.model_dump() for page in read.skipped] if read else []


def _say_skipped(session: Session, read: SiteRead | None) -> None:
    for page in _skipped(read):
        session.terminal.say(f"  skipped  {page['url']}: {page['reason']}")


async def _show_keywords(session: Session, found: FoundWorkflow) -> None:
    async with session.transaction(found.organization_id) as connection:
        keywords = await load_keywords(connection, found.workflow_id)
        reviews = await load_reviews(connection, found.workflow_id)
    if not keywords:
        raise _not_yet(found, "keywords")
    if session.terminal.as_json:
        session.terminal.emit(
            [{**keyword_object(keyword), "history": history_objects(keyword.text, reviews)} for keyword in keywords]
        )
        return
    show_keywords(session, keywords)


async def _show_clusters(session: Session, found: FoundWorkflow) -> None:
    stored = await _output(session, found, Step.CLUSTERING, "clusters")
    async with session.transaction(found.organization_id) as connection:
        clusters = await load_clusters(connection, found.workflow_id)
    leftovers = stored.output.get("leftovers", [])
    if session.terminal.as_json:
        plain = [cluster.model_dump(mode="json") for cluster in clusters]
        session.terminal.emit({"clusters": plain, "leftovers": leftovers, "similarity": _similarity_used(stored)})
        return
    used = _similarity_used(stored)
    session.terminal.say(f"similarity by {used['method']}, joined from {used['threshold']} on", "dim")
    for number, cluster in enumerate(clusters, start=1):
        _say_cluster(session, number, cluster)
    if leftovers:
        session.terminal.say("left over", "bold")
    for leftover in leftovers:
        session.terminal.say(f"  {leftover['text']}: {leftover['reason']}")
    if any(cluster.is_valid is False for cluster in clusters):
        session.terminal.say(f"to let one go on: starter.py override {found.workflow_id} NUMBER --reason TEXT", "dim")
    if not clusters:
        _show_verdict(session, stored)


def _similarity_used(stored: StepOutput) -> dict[str, Any]:
    """As the step stored it: what was measured, with which model, and the threshold that belongs to it."""
    values = {name: stored.verdict.values.get(name) for name in ("embeddings", "embedding_model", "embedding_weight")}
    return {"method": stored.output.get("method"), "threshold": stored.output.get("threshold"), **values}


def _say_cluster(session: Session, number: int, cluster: ClusterRow) -> None:
    judged = {None: "not validated yet", True: "valid", False: "falls"}[cluster.is_valid]
    session.terminal.say(f"{number} {cluster.hub} · {cluster.intent} · {judged}", "bold")
    for spoke in cluster.spokes:
        session.terminal.say(f"  {spoke['similarity']:.2f}  {spoke['text']}")
    for reason in cluster.reasons:
        session.terminal.say(f"  {reason.level}: {reason.message}", "yellow")


def _show_verdict(session: Session, stored: StepOutput) -> None:
    session.terminal.say(f"verdict: {stored.verdict.level}", "bold")
    for reason in stored.verdict.reasons:
        session.terminal.say(f"  {reason.level}: {reason.message}")


# Preview ---------------------------------------------------------------------------------------------------------


async def preview(session: Session, workflow: str) -> ExitCode:
    """Writes the articles that passed as the pages they will be, their quality reports beside them, and says where."""
    found = await session.find(workflow)
    async with session.transaction(found.organization_id) as connection:
        case = await load_case(connection, found.workflow_id)
        accepted = await accepted_articles(connection, found.workflow_id)
        overview = await article_overview(connection, found.workflow_id)
    if not accepted:
        raise _not_yet(found, "article that passed its gates")
    index, pages = await _write_pages(session, case, accepted)
    preview_path = _write_preview(Path(index).with_name(PREVIEW_FILE), _preview_page(case, overview, accepted))
    if session.terminal.as_json:
        facts = {"workflow_id": str(found.workflow_id), "preview": str(preview_path), "index": index}
        session.terminal.emit({**facts, "articles": pages})
        return ExitCode.DONE
    session.terminal.say(f"{counted(len(pages), 'article')} to look at in a browser: {preview_path}")
    for page, article in zip(pages, accepted, strict=True):
        _say_page(session, page, next(one for one in overview if one.article_id == article.row.article_id))
    return ExitCode.DONE


def _say_page(session: Session, page: dict[str, str], article: ArticleOverview) -> None:
    session.terminal.say(f"  {article.position + 1} {page['title']}\n    {page['path']} · {page['content_hash'][:12]}")
    for finding in findings_of(article.quality):
        fix = f": {finding['fix']}" if finding.get("fix") else ""
        session.terminal.say(f"    warning: {finding.get('message', '')}{fix}", "yellow")


def _preview_page(case: Case, overview: Sequence[ArticleOverview], accepted: Sequence[AcceptedArticle]) -> PreviewPage:
    by_id = {article.row.article_id: article for article in accepted}
    return PreviewPage(
        workflow_id=str(case.workflow_id),
        workflow_name=case.record.name,
        organization_name=case.brief.organization.name,
        state=case.state,
        is_demo_text=case.settings.is_demo_text,
        articles=tuple(_previewed(article, by_id.get(article.article_id)) for article in overview),
    )


def _previewed(article: ArticleOverview, accepted: AcceptedArticle | None) -> PreviewedArticle:
    is_older = accepted is not None and article.revision > (article.accepted_revision or 0)
    says_why = accepted is None or is_older
    return PreviewedArticle(
        number=article.position + 1,
        title=accepted.document.title if accepted else article.title or article.keyword,
        keyword=article.keyword,
        role=article.role,
        state=article.state,
        cost_usd=article.cost_usd,
        page=f"{accepted.document.slug}.html" if accepted else None,
        content_hash=accepted.content_hash if accepted else None,
        quality=article.quality if accepted else None,
        notes=tuple(reason.message for reason in article.reasons) if says_why else (),
    )


def _write_preview(path: Path, preview: PreviewPage) -> Path:
    try:
        path.write_text(render_preview(preview), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the preview can't be written: {path}: {error.strerror}") from error
    return path


async def _write_pages(
    session: Session, case: Case, accepted: Sequence[AcceptedArticle]
) -> tuple[str, list[dict[str, str]]]:
    from providers.publisher import FilesPublisher

    publisher = FilesPublisher(session.settings.state_dir.absolute() / PREVIEW_FOLDER)
    pages = []
    for article in accepted:
        result = await publisher.publish(publication_of(case, article, accepted, target=PREVIEW_TARGET))
        if result.state is PublicationState.FAILED or result.url is None:
            raise ConfigurationError(f"the preview can't be written: {result.reason}")
        pages.append(
            {
                "article_id": str(article.row.article_id),
                "title": article.document.title,
                "path": result.url,
                "content_hash": article.content_hash,
            }
        )
    site = publishing.site_description(
        workflow_name=case.record.name,
        organization=case.brief.organization,
        domain=bare_domain(case.brief.organization.url),
        documents=[article.document for article in accepted],
        is_demo_text=case.settings.is_demo_text,
        mode=case.brief.publish.mode,
    )
    return await publisher.finish(case.workflow_id, site), pages
