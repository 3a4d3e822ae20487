"""``starter.py check``: the quality gates over any Markdown or HTML file, without a server or network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.exits import ExitCode, not_found
from commands.terminal import Terminal, counted
from domain.brief import Brief, parse_brief
from domain.errors import BadInputError
from domain.identifiers import bare_domain
from domain.quality import ArticleFile, CheckOptions, FileReport, Finding, check_file, decoded, read_article_file
from domain.settings import ArticleSettings
from domain.verdict import Level

PAGE_ENDINGS = ("", ".html", ".htm", ".md", "/index.html", "/index.md")
FIGURES = (
    ("words", "{:,} words"),
    ("sections", "{} sections"),
    ("flesch", "reading ease {:.0f}"),
    ("keyword_density", "keyword {:.1%}"),
    ("term_coverage", "terms {:.0%}"),
)
STYLES = {Level.BLOCK: "bold red", Level.WARN: "yellow"}
CODE_WIDTH = 24
INDENT = " " * 16


@dataclass(frozen=True)
class CheckFlags:
    """What the command line says beside the files; ``site`` is the folder that links beginning with / start at."""

    keyword: str = ""
    terms: Sequence[str] = ()
    banned: Sequence[str] = ()
    sources: Sequence[Path] = ()
    brief: Path | None = None
    site: Path | None = None


async def check(terminal: Terminal, files: Sequence[Path], flags: CheckFlags, settings: ArticleSettings) -> ExitCode:
    """CONFLICT when a file is blocked: it is not what the gates ask for. Nothing is said before all can be read."""
    reports = _reports(files, flags, settings)
    _tell(terminal, reports)
    return ExitCode.CONFLICT if any(report.level is Level.BLOCK for report in reports) else ExitCode.DONE


def _reports(files: Sequence[Path], flags: CheckFlags, settings: ArticleSettings) -> list[FileReport]:
    options = _options(flags, settings)
    if flags.site is not None and not flags.site.is_dir():
        raise not_found(f"--site {flags.site} is no folder")
    articles = [_read(path) for path in dict.fromkeys(files)]
    return [
        check_file(
            article,
            options,
            [other for other in articles if other is not article],
            _existing(Path(article.name).absolute().parent, flags.site),
        )
        for article in articles
    ]


def _options(flags: CheckFlags, settings: ArticleSettings) -> CheckOptions:
    brief = _brief(flags.brief)
    banned = (*flags.banned, *(brief.voice.banned_phrases if brief else ()))
    return CheckOptions(
        keyword=" ".join(flags.keyword.split()),
        terms=tuple(term.strip() for term in flags.terms if term.strip()),
        banned_phrases=banned,
        sources=tuple(_source_text(path) for path in flags.sources),
        own_domain=bare_domain(brief.organization.url) if brief and flags.site else "",
        settings=settings,
    )


def _brief(path: Path | None) -> Brief | None:
    return None if path is None else parse_brief(decoded(_content(path), str(path)), source=str(path))


def _source_text(path: Path) -> str:
    """What a reader sees of the source; a text without markup as it is."""
    text = decoded(_content(path), str(path))
    article = read_article_file(str(path), text)
    if article.is_markdown:
        return text
    return "\n".join([*(heading.text for heading in article.page.headings), *(one.text for one in article.page.blocks)])


def _read(path: Path) -> ArticleFile:
    return read_article_file(str(path), decoded(_content(path), str(path)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise not_found(f"{path} does not exist: name a Markdown or HTML file") from None
    except IsADirectoryError:
        raise BadInputError(f"{path} is a folder: name files in it, as in {path}/*.html") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInputError(f"{path} can't be read: {reason}") from error


def _existing(folder: Path, site: Path | None) -> Callable[[str], bool | None]:
    """Paths of links start at the file's folder, those with a leading slash at the site's (None: it is not known)."""

    def exists(path: str) -> bool | None:
        if path.startswith("/"):
            return None if site is None else _is_page(site.absolute(), path.lstrip("/"))
        return _is_page(folder, path)

    return exists


def _is_page(folder: Path, path: str) -> bool:
    """As servers and site generators find it: with or without the ending, or the index of a folder."""
    try:
        target = folder / path
        names = [target, target.with_suffix(".md"), target.with_suffix(".html")] if target.name else [target]
        return any(one.exists() for one in names) or any(Path(f"{target}{end}").is_file() for end in PAGE_ENDINGS)
    except (OSError, ValueError):
        return False


# --- telling ---


def _tell(terminal: Terminal, reports: Sequence[FileReport]) -> None:
    if terminal.as_json:
        terminal.emit({"level": _worst(reports), "files": [_object(report) for report in reports]})
        return
    for report in reports:
        _tell_report(terminal, report)
    if len(reports) > 1:
        blocked = sum(report.level is Level.BLOCK for report in reports)
        terminal.say(f"{counted(len(reports), 'file')}, {blocked} blocked", "bold")


def _worst(reports: Sequence[FileReport]) -> Level:
    levels = {report.level for report in reports}
    return next((level for level in (Level.BLOCK, Level.WARN) if level in levels), Level.PASS)


def _object(report: FileReport) -> dict[str, Any]:
    return {
        "file": report.name,
        "level": report.level,
        "findings": [_finding_object(finding) for finding in report.findings],
        "figures": report.figures,
        "not_checked": list(report.not_checked),
    }


def _finding_object(finding: Finding) -> dict[str, Any]:
    span = finding.span
    return {
        "code": finding.code,
        "level": finding.level,
        "message": finding.message,
        "fix": finding.fix,
        "line": span.line if span else None,
        "start": span.start if span else None,
        "end": span.end if span else None,
        "excerpt": finding.excerpt,
    }


def _tell_report(terminal: Terminal, report: FileReport) -> None:
    blocks = sum(finding.level is Level.BLOCK for finding in report.findings)
    warnings = len(report.findings) - blocks
    summary = "passes" if not report.findings else f"{counted(blocks, 'block')}, {counted(warnings, 'warning')}"
    figures = ", ".join(shape.format(report.figures[name]) for name, shape in FIGURES if name in report.figures)
    terminal.say(f"{report.name} · {summary} · {figures}", "bold")
    for finding in report.findings:
        _tell_finding(terminal, finding)
    if report.not_checked:
        terminal.say(f"  not checked: {'; '.join(report.not_checked)}", "dim")


def _tell_finding(terminal: Terminal, finding: Finding) -> None:
    line = f"line {finding.line}" if finding.line else ""
    head = f"  {finding.level.upper():6}{line:10}{finding.code:{CODE_WIDTH}} {finding.message}"
    terminal.say(head, STYLES.get(finding.level, ""))
    if finding.excerpt and finding.excerpt not in finding.message:
        terminal.say(f"{INDENT}  │ {finding.excerpt}")
    if finding.fix:
        terminal.say(f"{INDENT}  → {finding.fix}")
