"""``export``: everything a workflow has, as files in one folder or archive. Whole or not at all."""

import io
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from activities.case import Case, load_case
from activities.publish import AcceptedArticle, accepted_articles, publication_of
from commands.exits import ExitCode
from commands.reading import article_object, transition_object
from commands.reviewing import keyword_object
from commands.session import Session
from commands.terminal import counted
from db.articles import Approval, load_approvals
from db.clusters import ClusterRow, load_clusters
from db.keywords import KeywordRow, load_keywords
from db.outputs import StepOutput, latest_output
from db.overview import ArticleOverview, FoundWorkflow, article_overview
from db.pool import Connection
from db.spend import ledger_lines
from db.transitions import TransitionRecord, list_transitions
from domain import publishing
from domain.assembly import slug_of
from domain.errors import BadInputError
from domain.export import (
    ARTICLES_FOLDER,
    MANIFEST_FILE,
    Export,
    Missing,
    article_path,
    csv_text,
    is_export_manifest,
    json_text,
)
from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.publication_feed import render_feed
from domain.publication_site import (
    FEED_FILE,
    Manifest,
    PageDates,
    manifest_of_site,
    render_index,
    render_markdown,
    render_page,
)
from domain.spend import LedgerLine
from domain.states import Step

EXPORTS_FOLDER = "exports"
NAME_CHARACTERS_MAX = 40
ZIP = ".zip"
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows: the same files make the same archive
KEYWORD_COLUMNS = (
    "number", "text", "decision", "intent", "volume", "difficulty", "cpc_usd", "score", "decided_by", "added_by",
    "sources", "note",
)  # fmt: skip
LEDGER_COLUMNS = (
    "created_at", "step", "slot", "model", "entry", "prompt_tokens", "cached_tokens", "completion_tokens", "searches",
    "cost", "computed_cost_usd", "provider_cost_usd", "drift_usd", "idempotency_key", "attempt_id", "corrects",
    "price_id", "ledger_id", "downgraded_from", "reason", "actor",
)  # fmt: skip


class Material(Frozen):
    """Everything that is exported, as one transaction read it."""

    case: Case
    icp: StepOutput | None
    competitors: StepOutput | None
    clustering: StepOutput | None
    validation: StepOutput | None
    keywords: tuple[KeywordRow, ...]
    clusters: tuple[ClusterRow, ...]
    articles: tuple[ArticleOverview, ...]
    accepted: tuple[AcceptedArticle, ...]
    approvals: tuple[Approval, ...]
    ledger: tuple[LedgerLine, ...]
    transitions: tuple[TransitionRecord, ...]


async def export(session: Session, workflow: str, out: Path | None, *, force: bool) -> ExitCode:
    found = await session.find(workflow)
    target = (out or Path(EXPORTS_FOLDER) / _default_name(found)).absolute()
    with _told(target):
        check_target(target, force=force)
    async with session.transaction(found.organization_id) as connection:
        material = await read_material(connection, found)
    exported = export_of(material)
    write_export(exported, target, force=force)
    _tell(session, exported, target)
    return ExitCode.DONE


def _default_name(found: FoundWorkflow) -> str:
    """The name is for people, the start of the id tells runs apart."""
    return f"{slug_of(found.name)[:NAME_CHARACTERS_MAX].rstrip('-')}-{found.workflow_id.hex[:8]}"


async def read_material(connection: Connection, found: FoundWorkflow) -> Material:
    id_ = found.workflow_id
    return Material(
        case=await load_case(connection, id_),
        icp=await latest_output(connection, id_, Step.ICP),
        competitors=await latest_output(connection, id_, Step.COMPETITOR),
        clustering=await latest_output(connection, id_, Step.CLUSTERING),
        validation=await latest_output(connection, id_, Step.VALIDATION),
        keywords=tuple(await load_keywords(connection, id_)),
        clusters=tuple(await load_clusters(connection, id_)),
        articles=tuple(await article_overview(connection, id_)),
        accepted=tuple(await accepted_articles(connection, id_)),
        approvals=tuple((await load_approvals(connection, id_)).values()),
        ledger=tuple(await ledger_lines(connection, id_)),
        transitions=tuple(await list_transitions(connection, id_)),
    )


def _tell(session: Session, exported: Export, target: Path) -> None:
    if session.terminal.as_json:
        session.terminal.emit({"path": str(target), **exported.manifest})
        return
    session.terminal.say(f"{counted(len(exported.all_files), 'file')} in {target}")
    if exported.missing:
        session.terminal.say(f"  not there yet ({exported.name} is in {exported.state}):")
    for one in exported.missing:
        session.terminal.say(f"    {one.path}: {one.reason}")


# What is in it -----------------------------------------------------------------------------------------------------


def export_of(material: Material) -> Export:
    """What exists is exported, what does not is named."""
    record = material.case.record
    files = {
        "workflow.json": json_text(_workflow_facts(material.case)),
        "transitions.json": json_text([transition_object(row) for row in material.transitions]),
        "ledger.json": json_text(_ledger_rows(material)),
        "ledger.csv": csv_text(LEDGER_COLUMNS, _ledger_rows(material)),
    }
    missing: list[Missing] = []
    for path, text, reason in (*_step_files(material), *_article_files(material)):
        if text is None:
            missing.append(Missing(path=path, reason=reason))
        else:
            files[path] = text
    return Export(
        workflow_id=record.workflow_id,
        organization_id=record.organization_id,
        name=record.name,
        state=record.state,
        workflow_version=record.version,
        as_of=record.updated_at,
        files=files,
        missing=tuple(missing),
    )


_File = tuple[str, str | None, str]


def _workflow_facts(case: Case) -> dict[str, Any]:
    facts = case.record.model_dump(mode="json")
    return {**facts, "brief": case.brief.model_dump(mode="json"), "settings": case.settings.model_dump(mode="json")}


def _ledger_rows(material: Material) -> list[dict[str, Any]]:
    return [line.model_dump(mode="json") for line in material.ledger]


def _step_files(material: Material) -> list[_File]:
    """(path, text or None, why there is none)"""
    keywords = [keyword_object(keyword) for keyword in material.keywords]
    clusters = [cluster.model_dump(mode="json") for cluster in material.clusters]
    found = material.clustering.output if material.clustering else {}
    grouped = {"clusters": clusters, "leftovers": found.get("leftovers", [])} if material.clustering else None
    no_keywords = "the competitor step has found no keywords yet"
    return [
        ("icp.json", _output_text(material.icp), "the ICP step has not ended yet"),
        ("competitors.json", _output_text(material.competitors), "the competitor step has not ended yet"),
        ("keywords.json", json_text(keywords) if keywords else None, no_keywords),
        ("keywords.csv", csv_text(KEYWORD_COLUMNS, keywords) if keywords else None, no_keywords),
        ("clusters.json", json_text(grouped) if grouped else None, "the clustering step has not ended yet"),
        ("validation.json", _output_text(material.validation), "the validation step has not ended yet"),
    ]


def _output_text(stored: StepOutput | None) -> str | None:
    if stored is None:
        return None
    return json_text({**stored.output, "verdict": stored.verdict.model_dump(mode="json")})


def _article_files(material: Material) -> list[_File]:
    if not material.articles:
        return [(f"{ARTICLES_FOLDER}/", None, "no articles are planned yet")]
    accepted = {article.row.article_id: article for article in material.accepted}
    files: list[_File] = []
    for overview in material.articles:
        files += _files_of(material, overview, accepted.get(overview.article_id))
    if accepted:
        manifest = _site_manifest(material)
        files.append((f"{ARTICLES_FOLDER}/index.html", render_index(manifest), ""))
        feed = render_feed(manifest)
        files += [(f"{ARTICLES_FOLDER}/{FEED_FILE}", feed, "")] if feed else []
    return files


def _files_of(material: Material, overview: ArticleOverview, accepted: AcceptedArticle | None) -> list[_File]:
    """Facts of every article; pages of those that passed."""
    document = accepted.document.model_dump(mode="json") if accepted else None
    facts = json_text({**article_object(overview), "quality": overview.quality, "document": document})
    paths = {ending: article_path(overview.slug, overview.article_id, ending) for ending in ("json", "md", "html")}
    if accepted is None:
        why = overview.reasons[0].message if overview.reasons else f"{overview.keyword!r} is {overview.state}"
        return [(paths["json"], facts, ""), (paths["md"], None, why), (paths["html"], None, why)]
    request = publication_of(material.case, accepted, material.accepted)
    dates = _dates(material, accepted)
    return [
        (paths["json"], facts, ""),
        (paths["md"], render_markdown(request, dates), ""),
        (paths["html"], render_page(request, dates), ""),
    ]


def _dates(material: Material, article: AcceptedArticle) -> PageDates:
    """Of the approval of exactly this content; none before it."""
    approved = [
        one.approved_at
        for one in material.approvals
        if (one.article_id, one.content_hash) == (article.row.article_id, article.content_hash)
    ]
    return PageDates(published_at=approved[0], modified_at=approved[0]) if approved else PageDates()


def _site_manifest(material: Material) -> Manifest:
    case = material.case
    site = publishing.site_description(
        workflow_name=case.record.name,
        organization=case.brief.organization,
        domain=bare_domain(case.brief.organization.url),
        documents=[article.document for article in material.accepted],
        is_demo_text=case.settings.is_demo_text,
        mode=case.brief.publish.mode,
    )
    manifest = manifest_of_site(case.workflow_id, site, None)
    dates = {article.row.article_id: _dates(material, article) for article in material.accepted}
    entries = (entry.model_copy(update=dict(dates[entry.article_id])) for entry in manifest.articles)
    return manifest.model_copy(update={"articles": tuple(entries)})


# Writing -----------------------------------------------------------------------------------------------------------


def check_target(target: Path, *, force: bool) -> None:
    """Raises BadInputError where the export would take the place of something that must stay."""
    if target.is_symlink():
        raise BadInputError(f"{target} is a link: name the place itself with --out", "out")
    if not target.exists():
        return
    if not force:
        raise BadInputError(f"{target} is there already: add --force to replace it, or name another with --out", "out")
    if not _is_replaceable(target):
        raise BadInputError(f"{target} is no export of ours and is not replaced: name another place with --out", "out")


def _is_replaceable(target: Path) -> bool:
    """An archive for an archive, an export's folder (or an empty one) for a folder."""
    if _is_archive(target):
        return target.is_file() and _manifest_in_archive(target)
    if not target.is_dir():
        return False
    manifest = target / MANIFEST_FILE
    if not manifest.is_file():
        return not any(target.iterdir())
    return is_export_manifest(manifest.read_text(encoding="utf-8", errors="replace"))


def _manifest_in_archive(target: Path) -> bool:
    try:
        with zipfile.ZipFile(target) as archive:
            return is_export_manifest(archive.read(MANIFEST_FILE).decode(errors="replace"))
    except (zipfile.BadZipFile, KeyError):
        return False


def _is_archive(target: Path) -> bool:
    return target.suffix.lower() == ZIP


def write_export(exported: Export, target: Path, *, force: bool) -> None:
    """Into a place of its own beside the target, then there by one rename. Raises BadInputError when that fails."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if _is_archive(target):
                temporary.write_bytes(_archive(exported.all_files))
                _put_file(temporary, target, force=force)
            else:
                _write_folder(temporary, exported.all_files)
                _put_folder(temporary, target, force=force)
        finally:
            _remove(temporary)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """What the file system refuses is the place's fault, and one line."""
    try:
        yield
    except OSError as error:
        message = f"can't write {error.filename or target}: {error.strerror}; name another place with --out"
        raise BadInputError(message, "out") from error


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _archive(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, ZIP_TIME), content, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def _put_file(temporary: Path, target: Path, *, force: bool) -> None:
    if force:
        temporary.replace(target)
    else:
        os.link(temporary, target)  # fails where somebody else was faster


def _put_folder(temporary: Path, target: Path, *, force: bool) -> None:
    """A rename replaces no folder with files in it: what is there goes aside first, and back should that fail."""
    if not (force and target.exists()):
        temporary.rename(target)
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
