"""Any Markdown or HTML file as an article, and every gate that can be held against it alone."""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from domain.errors import BadInputError
from domain.money import Frozen
from domain.quality.article_text import ArticleText, article_text
from domain.quality.findings import Finding, Span, in_order
from domain.quality.html_page import HtmlPage, is_whole_document, read_html
from domain.quality.markdown_page import FrontMatter, read_front_matter, read_markdown
from domain.quality.metadata import Metadata, metadata_findings, slug_in, title_pixels, uniqueness_findings
from domain.quality.readability import flesch, is_english, long_sentences_share, readability_findings
from domain.quality.source import SourceText
from domain.quality.structure import form_findings, page_link_findings
from domain.quality.structured_data import json_ld_values, page_structured_data_findings
from domain.quality.wording import (
    OtherArticle,
    cannibalization_findings,
    coverage,
    coverage_findings,
    density,
    density_findings,
    likeness_findings,
    phrase_findings,
    repetition_findings,
    source_findings,
    text_words,
)
from domain.settings import ArticleSettings
from domain.verdict import Level

BYTES_MAX = 100_000_000
# Without pictures that stand in the text; an article of 300,000 words.
CHARACTERS_MAX = 2_000_000
_INLINE_DATA = re.compile(r"data:[^\s\"')>]{200,}")
MARKDOWN_ENDINGS = (".md", ".markdown", ".mdown", ".mkd", ".mdx")
HTML_ENDINGS = (".html", ".htm", ".xhtml")
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_BYTE_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_TAG_FIRST = re.compile(r"\s*<(?:!--|[a-z][a-z0-9]*[\s>/])", re.IGNORECASE)


class CheckOptions(Frozen):
    """What a file does not say itself. ``sources`` are texts in which its numbers and quotations must stand."""

    keyword: str = ""
    terms: tuple[str, ...] = ()
    banned_phrases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    own_domain: str = ""
    settings: ArticleSettings = ArticleSettings()


@dataclass(frozen=True)
class ArticleFile:
    """``source`` is the whole file; the page was read with its front matter blanked, so that places are the same."""

    name: str
    source: SourceText
    is_markdown: bool
    front_matter: FrontMatter
    page: HtmlPage
    text: ArticleText
    metadata: Metadata
    keyword: str
    language: str

    @property
    def title(self) -> str:
        return self.text.title or self.metadata.meta_title or self.name


class FileReport(Frozen):
    """``figures`` are measured and gate nothing by themselves; ``not_checked`` says what was left out, and why."""

    name: str
    findings: tuple[Finding, ...]
    figures: dict[str, Any]
    not_checked: tuple[str, ...]

    @property
    def level(self) -> Level:
        levels = {finding.level for finding in self.findings}
        return Level.BLOCK if Level.BLOCK in levels else Level.WARN if levels else Level.PASS


# --- reading ---


def decoded(content: bytes, name: str) -> str:
    """The file's text with line feeds only. Raises BadInputError for what is no text: empty, binary, undecodable."""
    if len(content) > BYTES_MAX:
        raise BadInputError(f"{name} has {len(content) / 1_000_000:.0f} MB: is it an article?")
    encoding = next((encoding for mark, encoding in _BYTE_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\x00" in content:
        raise BadInputError(f"{name} is no text (it has bytes of 0): check a Markdown or HTML file")
    text = _decoded(content, encoding, name).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise BadInputError(f"{name} is empty: there is nothing to check")
    if len(text) > CHARACTERS_MAX and (size := len(_INLINE_DATA.sub("", text))) > CHARACTERS_MAX:
        least = f"{CHARACTERS_MAX / 1_000_000:.0f} million"
        raise BadInputError(f"{name} has {size / 1_000_000:.1f} million characters; {least} at most are checked")
    return text


def _decoded(content: bytes, encoding: str | None, name: str) -> str:
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        place = content.count(b"\n", 0, error.start) + 1
    declared = _DECLARED.search(content[:4096])
    if declared and encoding is None:
        try:
            return content.decode(codecs.lookup(declared[1].decode("ascii")).name)
        except (LookupError, UnicodeDecodeError):
            pass
    raise BadInputError(f"{name} is not in UTF-8 (line {place}): save it as UTF-8 and check it again")


def read_article_file(name: str, text: str) -> ArticleFile:
    is_markdown = _is_markdown(name, text)
    front_matter = read_front_matter(text)
    blanked = re.sub(r"[^\n]", " ", text[: front_matter.end]) + text[front_matter.end :]
    page_source = SourceText(blanked if front_matter.is_there else text)
    page = read_markdown(page_source) if is_markdown else read_html(page_source)
    source = SourceText(text)
    return ArticleFile(
        name=name,
        source=source,
        is_markdown=is_markdown,
        front_matter=front_matter,
        page=page,
        text=article_text(page),
        metadata=_metadata(source, front_matter, page),
        keyword=_keyword(front_matter, page),
        language=_language(front_matter, page),
    )


def _is_markdown(name: str, text: str) -> bool:
    if name.lower().endswith(HTML_ENDINGS):
        return False
    return name.lower().endswith(MARKDOWN_ENDINGS) or not (is_whole_document(text) or _TAG_FIRST.match(text))


def _metadata(source: SourceText, front_matter: FrontMatter, page: HtmlPage) -> Metadata:
    facts = dict(_told_by_front_matter(source, front_matter))
    if page.is_document:
        facts = {**_told_by_head(page), **facts}
    return Metadata(**facts)


def _told_by_front_matter(source: SourceText, front_matter: FrontMatter) -> Iterator[tuple[str, Any]]:
    wanted = {
        "meta_title": ("title_span", ("meta_title", "seo_title", "title")),
        "description": ("description_span", ("meta_description", "description", "summary", "excerpt")),
        "slug": ("slug_span", ("slug",)),
    }
    for name, (span_name, fields) in wanted.items():
        if (value := front_matter.text(*fields)) is not None:
            field = next(one for one in fields if front_matter.text(one) is not None)
            yield name, value
            yield span_name, _field_span(source, front_matter, field)


def _field_span(source: SourceText, front_matter: FrontMatter, field: str) -> Span | None:
    pattern = re.compile(rf"^[\"']?{re.escape(field)}[\"']?\s*[:=]", re.IGNORECASE | re.MULTILINE)
    match = pattern.search(source.text, 0, front_matter.end)
    return source.line_span(match.start()) if match else None


def _told_by_head(page: HtmlPage) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for node in page.named("title", "meta", "link"):
        span = page.source.line_span(node.offset)
        if node.tag == "title" and "meta_title" not in facts and not node.is_foreign:
            title = " ".join("".join(node.element.itertext()).split())
            facts |= {"meta_title": title, "title_span": span} if title else {}
        elif node.tag == "meta" and node.attributes.get("name", "").lower() == "description":
            description = " ".join(node.attributes.get("content", "").split())
            facts |= {"description": description, "description_span": span} if description else {}
        elif node.tag == "link" and "canonical" in node.attributes.get("rel", "").lower().split():
            slug = slug_in(node.attributes.get("href", ""))
            facts |= {"slug": slug, "slug_span": span} if slug else {}
    return facts


def _keyword(front_matter: FrontMatter, page: HtmlPage) -> str:
    told = front_matter.text("keyword", "focus_keyword", "focus_keyphrase", "primary_keyword")
    if told:
        return told
    for node in _posting_nodes(json_ld_values(page)):
        keywords = node.get("keywords")
        parts = keywords.split(",") if isinstance(keywords, str) else keywords
        if isinstance(parts, list) and parts and isinstance(parts[0], str):
            return parts[0].strip()
    return ""


def _posting_nodes(values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        roots = value if isinstance(value, list) else [value]
        for root in roots:
            graph = root.get("@graph", [root]) if isinstance(root, dict) else []
            for node in graph if isinstance(graph, list) else []:
                if isinstance(node, dict) and str(node.get("@type", "")).endswith(("Posting", "Article")):
                    yield node


def _language(front_matter: FrontMatter, page: HtmlPage) -> str:
    told = front_matter.text("lang", "language", "locale")
    if told or not page.is_document:
        return told or ""
    return next((node.attributes.get("lang", "") for node in page.named("html")), "")


# --- checking ---


def check_file(
    file: ArticleFile,
    options: CheckOptions,
    others: Sequence[ArticleFile] = (),
    exists: Callable[[str], bool | None] = lambda _: None,
) -> FileReport:
    """Every gate that a file can be held to. ``others`` are articles of the same site; ``exists`` tells whether a path
    that a link names is there (None: it can't be known)."""
    keyword = options.keyword or file.keyword
    terms = options.terms or file.front_matter.texts("terms")
    findings = [
        *_front_matter_findings(file),
        *form_findings(file.page),
        *page_link_findings(file.page, is_markdown=file.is_markdown, exists=exists, own_domain=options.own_domain),
        *page_structured_data_findings(file.page),
        *_told_findings(file),
        *metadata_findings(file.metadata, file.source, options.settings),
        *_word_findings(file, options, keyword, terms),
        *_other_findings(file, keyword, others, options.settings),
        *readability_findings(file.text, file.language, options.settings),
    ]
    return FileReport(
        name=file.name,
        findings=tuple(in_order(dict.fromkeys(findings))),
        figures=_figures(file, keyword, terms),
        not_checked=tuple(_not_checked(file, options, keyword, terms, others)),
    )


def _front_matter_findings(file: ArticleFile) -> list[Finding]:
    if file.front_matter.problem is None:
        return []
    message = f"The front matter can't be read: {file.front_matter.problem}"
    return [file.source.finding("front_matter_invalid", message, "correct it", span=file.source.line_span(0))]


def _told_findings(file: ArticleFile) -> list[Finding]:
    """What a page or front matter leaves out that a results page shows."""
    if not (file.page.is_document or (file.front_matter.is_there and file.front_matter.problem is None)):
        return []
    missing = []
    if file.metadata.meta_title is None and file.is_markdown:
        missing.append(("meta_title_missing", "There is no title in the front matter", "add title"))
    if file.metadata.description is None:
        missing.append(("meta_description_missing", "There is no meta description", "add one of 120 to 156 characters"))
    if file.page.is_document and not file.language:
        missing.append(("language_missing", "The page does not say its language", 'write it as in <html lang="en">'))
    return [
        file.source.finding(code, message, fix, span=file.source.line_span(0), level=Level.WARN)
        for code, message, fix in missing
    ]


def _word_findings(file: ArticleFile, options: CheckOptions, keyword: str, terms: Sequence[str]) -> list[Finding]:
    text, settings = file.text, options.settings
    headlines = [("title", file.text.title), *((f"heading “{one.text}”", one.text) for one in _headings(file))]
    if file.metadata.description:
        headlines.append(("meta description", file.metadata.description))
    found = phrase_findings(text, options.banned_phrases, headlines) + repetition_findings(text)
    if keyword:
        found += density_findings(text, keyword, density_max=settings.keyword_density_max)
    if terms:
        found += coverage_findings(text, terms, coverage_min=settings.term_coverage_min)
    if options.sources:
        found += source_findings(text, options.sources, [keyword] if keyword else [])
    return found


def _headings(file: ArticleFile) -> list[Any]:
    return [heading for section in file.text.sections for heading in section.headings]


def _other_findings(
    file: ArticleFile, keyword: str, others: Sequence[ArticleFile], settings: ArticleSettings
) -> list[Finding]:
    compared = [_other(other) for other in others if not is_same_article(file, other)]
    found = uniqueness_findings(file.metadata, file.source, compared)
    for other in compared:
        found += likeness_findings(file.text, other, similarity_max=settings.sibling_similarity_max)
    return found + cannibalization_findings(file.text, file.title, keyword, compared)


def _other(file: ArticleFile) -> OtherArticle:
    metadata = file.metadata
    return OtherArticle(file.title, file.text.body, metadata.slug or "", metadata.meta_title or "", file.keyword)


def is_same_article(file: ArticleFile, other: ArticleFile) -> bool:
    """One article as Markdown and as HTML."""
    return (
        file.is_markdown != other.is_markdown and bool(file.metadata.slug) and file.metadata.slug == other.metadata.slug
    )


def _figures(file: ArticleFile, keyword: str, terms: Sequence[str]) -> dict[str, Any]:
    text = file.text
    figures: dict[str, Any] = {
        "words": text_words(text),
        "sections": text.heading_count,
        "long_sentences_share": round(long_sentences_share(text.body), 3),
    }
    if is_english(text, file.language):
        figures["flesch"] = round(flesch(text.body), 1)
    if file.metadata.meta_title is not None:
        figures["title_pixels"] = round(title_pixels(file.metadata.meta_title))
    if file.metadata.description is not None:
        figures["description_characters"] = len(file.metadata.description)
    if keyword:
        figures["keyword_density"] = round(density(text, keyword), 4)
    if terms:
        figures["term_coverage"] = round(coverage(terms, text), 3)
    return figures


def _not_checked(
    file: ArticleFile,
    options: CheckOptions,
    keyword: str,
    terms: Sequence[str],
    others: Sequence[ArticleFile],
) -> Iterator[str]:
    if not options.sources:
        yield "numbers and quotations (give what they stand in with --source)"
    if not keyword:
        yield "keyword density (give --keyword)"
    if not terms:
        yield "term coverage (give --term)"
    if not others:
        yield "likeness to other articles (give several files)"
    if not (file.page.is_document or file.front_matter.is_there):
        yield "meta title, description and slug (the file has no front matter)"
    if not is_english(file.text, file.language):
        yield "reading ease (measured for English only)"
