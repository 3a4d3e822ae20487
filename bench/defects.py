"""Defects put into real articles: how many the gates catch, and how often they cry on the clean text.

    python -m bench.defects [FOLDER] [--seeds N]

FOLDER holds encyclopedia articles as JSON (title, summary, nested sections of sentences), by default
``freshwiki`` under ``INFIN8_DATA_DIR`` or ``../shared/data``. Each becomes Markdown with front matter, and a whole HTML
page with JSON-LD; then one defect at a time is put in at a random place. Caught is a defect when a finding of the
expected code appears that the clean article does not have.

A warning that measures (a section of 400 words has 400 words, whoever wrote it) is no false alarm where the article's
own data, counted another way, says the same; blocks have no such excuse.
"""

import argparse
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from domain.article import key_terms
from domain.assembly import escape_markdown, slug_of
from domain.pages import Passage
from domain.quality import ArticleFile, CheckOptions, Finding, check_file, read_article_file
from domain.verdict import Level

PARAGRAPH_SENTENCES = 3
SITE = "https://encyclopedia.example"
BANNED = "game changer"
# What two ways of counting words may differ by.
BORDER = 0.02
STUFFED_SHARE = 0.05
GROUNDING_CODES = {"number_not_in_source", "quotation_not_in_source"}
FINDING_KEY = tuple[str, str, str]


@dataclass(frozen=True)
class Section:
    level: int
    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Article:
    """An article of the data: its sections in reading order, those inside of others one level below them."""

    title: str
    summary: str
    sections: tuple[Section, ...]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [" ".join(group) for section in self.sections for group in _groups(section.sentences)]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        return (" ".join((self.title, self.summary)), *self.paragraphs)

    @cached_property
    def terms(self) -> tuple[str, ...]:
        passages = [
            Passage(number=number, url=f"{SITE}/{number}", text=text) for number, text in enumerate(self.paragraphs, 1)
        ]
        return key_terms(self.title, (), passages)

    @property
    def description(self) -> str:
        return self.summary[:150].rsplit(" ", 1)[0].ljust(121, ".")


@dataclass(frozen=True)
class Case:
    """A file to check, how, and beside which others."""

    text: str
    name: str = "article.md"
    options: CheckOptions = field(default_factory=CheckOptions)
    others: tuple[tuple[str, str], ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        others: list[ArticleFile] = [read_article_file(name, text) for name, text in self.others]
        return check_file(read_article_file(self.name, self.text), self.options, others, _exists).findings


def _exists(path: str) -> bool:
    return path == "known.html"


# --- reading ---


def data_folder() -> Path | None:
    """Where the articles are, None where they are not."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INFIN8_DATA_DIR") or beside) / "freshwiki"
    return folder if folder.is_dir() else None


def read_articles(folder: Path) -> list[Article]:
    return [_article(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]


def _article(data: dict[str, Any]) -> Article:
    sections: list[Section] = []

    def take(items: Sequence[dict[str, Any]], level: int) -> None:
        for item in items:
            sentences = tuple(_ended(one["sentence"]) for one in item["section_content"] if one["sentence"].strip())
            sections.append(Section(level, " ".join(item["section_title"].split()), sentences))
            take(item.get("subsections") or (), level + 1)

    take(data["content"], 2)
    title = " ".join(data["title"].replace("_", " ").split())
    return Article(title, " ".join(data["summary"].split()), tuple(sections))


def _ended(sentence: str) -> str:
    sentence = " ".join(sentence.split())
    return sentence if sentence.endswith((".", "!", "?", '."', ".”", ":")) else f"{sentence}."


def _groups(sentences: Sequence[str]) -> list[Sequence[str]]:
    return [sentences[start : start + PARAGRAPH_SENTENCES] for start in range(0, len(sentences), PARAGRAPH_SENTENCES)]


def markdown_of(article: Article, **facts: str) -> str:
    matter = {
        "title": _meta_title(article),
        "description": article.description,
        "slug": slug_of(article.title),
        "keyword": article.title,
        "lang": "en",
        **facts,
    }
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{front}---\n\n{body_of(article)}"


def _meta_title(article: Article) -> str:
    """Between 400 and 600 pixels wide, as an editor would make it."""
    title = article.title
    return title if len(title) > 40 else f"{title}: what happened, and why it matters"[:52].rstrip(" ,:")


def body_of(article: Article) -> str:
    parts = [f"# {escape_markdown(article.title)}", escape_markdown(article.summary)]
    for section in article.sections:
        parts.append(f"{'#' * section.level} {escape_markdown(section.title)}")
        parts += [escape_markdown(" ".join(group)) for group in _groups(section.sentences)]
    return "\n\n".join(parts) + "\n"


def page_of(article: Article) -> str:
    """A whole page with JSON-LD."""
    address = f"{SITE}/{slug_of(article.title)}.html"
    publisher = {"@type": "Organization", "name": "Encyclopedia", "url": SITE}
    posting = {
        "@type": "BlogPosting",
        "headline": article.title,
        "url": address,
        "description": article.description,
        "author": publisher,
        "publisher": publisher,
        "datePublished": "2026-03-05T09:30:00Z",
        "dateModified": "2026-03-06",
        "keywords": [article.title],
        "wordCount": 1200,
    }
    crumbs = [("Home", f"{SITE}/"), ("Articles", f"{SITE}/articles/"), (article.title, address)]
    trail = [
        {"@type": "ListItem", "position": number, "name": name, "item": item}
        for number, (name, item) in enumerate(crumbs, 1)
    ]
    json_ld = {
        "@context": "https://schema.org",
        "@graph": [posting, {"@type": "BreadcrumbList", "itemListElement": trail}],
    }
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_escaped(_meta_title(article))}'
        f'</title>\n<meta name="description" content="{_escaped(article.description)}">\n'
        f'<link rel="canonical" href="{address}">\n'
        f'<script type="application/ld+json">{json.dumps(json_ld, indent=1)}</script>\n</head>\n<body>\n<main>\n'
        f"{MarkdownIt('commonmark').render(body_of(article))}</main>\n</body>\n</html>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def clean_case(article: Article, others: Sequence[Article] = ()) -> Case:
    options = CheckOptions(terms=article.terms, sources=article.sources, banned_phrases=(BANNED,))
    beside = tuple((f"{slug_of(other.title)}.md", markdown_of(other)) for other in others)
    return Case(markdown_of(article), options=options, others=beside)


def page_case(article: Article) -> Case:
    return Case(page_of(article), name="article.html")


# --- defects ---

Injection = Callable[[Article, random.Random, Sequence[Article]], Case]


def _text_blocks(text: str) -> list[tuple[int, int]]:
    """Places of the paragraphs of Markdown, without front matter and headings."""
    start = text.index("\n---\n") + 5
    spans = [match.span() for match in re.finditer(r"[^\n]+", text[start:])]
    return [(start + left, start + right) for left, right in spans if text[start + left] not in "#-"]


def in_text(change: Callable[[str, random.Random], str]) -> Injection:
    """The change is made to one paragraph of the Markdown."""

    def inject(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
        case = clean_case(article)
        places = _text_blocks(case.text)
        dice.shuffle(places)
        for left, right in places:
            changed = change(case.text[left:right], dice)
            if changed != case.text[left:right]:
                return replace(case, text=case.text[:left] + changed + case.text[right:])
        raise LookupError("nothing to change")

    return inject


def before_heading(piece: str) -> Injection:
    """The piece is put before one of the H2 headings but the first."""

    def inject(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
        case = clean_case(article)
        places = [match.start() for match in re.finditer(r"^## ", case.text, re.MULTILINE)][1:]
        place = dice.choice(places)
        return replace(case, text=f"{case.text[:place]}{piece}\n\n{case.text[place:]}")

    return inject


def in_page(pattern: str, replacement: str) -> Injection:
    """One match of the pattern in the HTML page is replaced."""

    def inject(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
        case = page_case(article)
        match = dice.choice(list(re.finditer(pattern, case.text)))
        return replace(case, text=case.text[: match.start()] + match.expand(replacement) + case.text[match.end() :])

    return inject


def in_facts(**facts: str) -> Injection:
    def inject(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
        return replace(clean_case(article), text=markdown_of(article, **facts))

    return inject


def in_json(change: Callable[[dict[str, Any]], object]) -> Injection:
    def inject(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
        case = page_case(article)
        match = re.search(r"(?<=json\">).*?(?=</script>)", case.text, re.DOTALL)
        assert match
        value = json.loads(match[0])
        change(value)
        return replace(case, text=case.text[: match.start()] + json.dumps(value) + case.text[match.end() :])

    return inject


def _without_title(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
    case = clean_case(article)
    return replace(case, text=re.sub(r"^# .*\n", "", case.text, count=1, flags=re.MULTILINE))


def _skipped_level(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
    case = clean_case(article)
    match = dice.choice(_after_upper_headings(r"^#+ ", "#", case.text))
    return replace(case, text=f"{case.text[: match.start()]}#### {case.text[match.end() :]}")


def _after_upper_headings(pattern: str, mark: str, text: str) -> list[re.Match[str]]:
    """The H2 headings that follow an H1 or H2: as an H4 they skip a level."""
    found = list(re.finditer(pattern, text, re.MULTILINE))
    levels = [match[0].count(mark) if mark == "#" else int(match[1]) for match in found]
    return [match for match, level, before in zip(found[1:], levels[1:], levels, strict=False) if level == 2 >= before]


def _skipped_level_of_page(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
    case = page_case(article)
    match = dice.choice(_after_upper_headings(r"<h([1-6])>(.*?)</h\1>", "h", case.text))
    return replace(case, text=f"{case.text[: match.start()]}<h4>{match[2]}</h4>{case.text[match.end() :]}")


def _twice_the_heading(article: Article, dice: random.Random, _: Sequence[Article]) -> Case:
    case = clean_case(article)
    first, second = dice.sample([one.title for one in article.sections if one.level == 2], 2)
    wanted, taken = (f"\n## {escape_markdown(one)}\n" for one in (first, second))
    return replace(case, text=case.text.replace(taken, wanted, 1))


def _stuffed_throughout(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
    """The keyword after the sentences of the article, as often as it takes to be over a twentieth of its words."""
    case = clean_case(article)
    head, mark, body = case.text.partition("\n---\n")
    ends = max(1, len(re.findall(r"\. ", body)))
    words, length = len(body.split()), len(article.title.split())
    times = 1 + int(STUFFED_SHARE * words / (1 - STUFFED_SHARE * length) / ends)
    return replace(
        case, text=head + mark + re.sub(r"\. ", f". {article.title}. " + f"{article.title}. " * (times - 1), body)
    )


def _other_topic(article: Article, dice: random.Random, articles: Sequence[Article]) -> Case:
    """Held to the terms of another article."""
    other = dice.choice([one for one in articles if one is not article])
    case = clean_case(article)
    return replace(case, options=case.options.model_copy(update={"terms": other.terms}))


def _copied(article: Article, dice: random.Random, articles: Sequence[Article]) -> Case:
    """A third of another article's paragraphs stand in this one, in a section of their own."""
    other = dice.choice([one for one in articles if one is not article])
    taken = other.paragraphs[: max(4, len(other.paragraphs) // 3)]
    case = clean_case(article, [other])
    return replace(case, text="\n\n".join([f"{case.text}\n## More of it", *map(escape_markdown, taken)]) + "\n")


def _beside(**facts: str) -> Injection:
    """Another article says the same of itself."""

    def inject(article: Article, dice: random.Random, articles: Sequence[Article]) -> Case:
        other = dice.choice([one for one in articles if one is not article])
        own = {"title": _meta_title(article), "slug": slug_of(article.title), "keyword": article.title}
        taken = {name: own[name] for name in facts}
        return replace(clean_case(article), others=(("other.md", markdown_of(other, **taken)),))

    return inject


def _digit(paragraph: str, dice: random.Random) -> str:
    """One digit of one number that stands in the article once and counts something."""
    numbers = list(re.finditer(r"(?<![\w.,-])\d{2,}(?![\w.,:-])", paragraph))
    if not numbers:
        return paragraph
    match = dice.choice(numbers)
    place = dice.randrange(match.start(), match.end())
    digit = str((int(paragraph[place]) + dice.randint(1, 8)) % 9 + 1)
    digit = digit if digit != paragraph[place] else str(int(digit) % 9 + 1)
    return paragraph[:place] + digit + paragraph[place + 1 :]


def _quotation(paragraph: str, dice: random.Random) -> str:
    """One long word of a quotation is another."""
    if paragraph.count('"') % 2:
        return paragraph
    pairs = re.finditer(r'"[^"]*"|“[^“”]*”', paragraph)
    quotations = [match for match in pairs if len(match[0].split()) > 4]
    if not quotations:
        return paragraph
    match = dice.choice(quotations)
    words = list(re.finditer(r"(?<![\w'’])[a-z]{5,}(?![\w'’])", match[0]))
    if not words:
        return paragraph
    word, start = dice.choice(words), match.start()
    return paragraph[: start + word.start()] + "entirely" + paragraph[start + word.end() :]


def _ended_with(piece: str) -> Callable[[str, random.Random], str]:
    return lambda paragraph, _: f"{paragraph} {piece}"


def _twice(paragraph: str, _: random.Random) -> str:
    return f"{paragraph}\n\n{paragraph}" if len(paragraph.split()) > 25 else paragraph


def _joined(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
    """Sentences without their ends."""
    case = clean_case(article)
    head, mark, body = case.text.partition("\n---\n")
    return replace(case, text=head + mark + re.sub(r"\. (?=[A-Z])", " and then, as it was said, ", body))


def _long_words(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
    case = clean_case(article)
    head, mark, body = case.text.partition("\n---\n")
    return replace(case, text=head + mark + re.sub(r"\b(the|and|was|for)\b", "organizationally", body))


def _one_section(article: Article, _: random.Random, __: Sequence[Article]) -> Case:
    case = clean_case(article)
    kept = case.text.split("\n## ")
    return replace(case, text="\n## ".join(kept[:3]))


DEFECTS: dict[str, tuple[Injection, str]] = {
    "a second H1": (before_heading("# Another title"), "h1_count"),
    "no H1": (_without_title, "h1_count"),
    "a skipped level": (_skipped_level, "heading_skipped"),
    "an H2 twice": (_twice_the_heading, "heading_duplicate"),
    "an empty heading": (before_heading("##"), "heading_empty"),
    "a dead link": (in_text(_ended_with("See [more](gone.html).")), "link_unresolved"),
    "a dead anchor": (in_text(_ended_with("See [above](#never-there).")), "link_unresolved"),
    "a link without address": (in_text(_ended_with("See [more]().")), "link_unresolved"),
    "a script link": (in_text(_ended_with('See <a href="javascript:x()">more</a>.')), "link_foreign"),
    "an image without alt": (in_text(_ended_with("![](chart.png)")), "image_alt_missing"),
    "an HTML image without alt": (before_heading('<p><img src="chart.png"></p>'), "image_alt_missing"),
    "an unclosed element": (before_heading("<div><b>Note</div>"), "html_error"),
    "a stray end tag": (in_text(_ended_with("It ended.</em>")), "html_error"),
    "an element that is none": (in_text(_ended_with("<blurb>It ended.</blurb>")), "html_error"),
    "an obsolete element": (before_heading("<center>It ended.</center>"), "html_error"),
    "an id twice": (before_heading('<p id="a">x</p>\n<p id="a">y</p>'), "id_duplicate"),
    "a list item without a list": (before_heading("<li>one</li>"), "html_error"),
    "a stuffed paragraph": (
        lambda article, dice, articles: before_heading(f"{article.title} is here. " * 8)(article, dice, articles),
        "keyword_density",
    ),
    "a stuffed article": (_stuffed_throughout, "keyword_density"),
    "terms of another topic": (_other_topic, "terms_uncovered"),
    "a third of another article": (_copied, "near_duplicate"),
    "the slug of another": (_beside(slug=""), "slug_not_unique"),
    "the meta title of another": (_beside(title=""), "meta_title_not_unique"),
    "the keyword of another": (_beside(keyword=""), "cannibalization"),
    "a bad slug": (in_facts(slug="My_Slug 2"), "slug_invalid"),
    "a short title": (in_facts(title="Short"), "meta_title_width"),
    "a wide title": (in_facts(title="What everybody should know about this: a long story " * 2), "meta_title_width"),
    "a short description": (in_facts(description="Too short to fill the line."), "meta_description_length"),
    "a long description": (in_facts(description="It goes on and on. " * 12), "meta_description_length"),
    "a banned phrase": (in_text(_ended_with("It is a game-changer.")), "banned_phrase"),
    "a claim of experience": (in_text(_ended_with("In our experience that holds.")), "banned_phrase"),
    "one digit of a number": (in_text(_digit), "number_not_in_source"),
    "an invented number": (in_text(_ended_with("It saves 83.7% of the cost.")), "number_not_in_source"),
    "one word of a quotation": (in_text(_quotation), "quotation_not_in_source"),
    "an invented quotation": (
        in_text(_ended_with("“Nobody could have seen this coming from there”, she said.")),
        "quotation_not_in_source",
    ),
    "a long paragraph": (before_heading("It was a day like many others there. " * 22), "paragraph_long"),
    "a long section": (before_heading("\n\n".join(["It was a day like many others there. " * 9] * 6)), "section_long"),
    "long sentences": (_joined, "sentences_long"),
    "hard words": (_long_words, "reading_ease"),
    "a paragraph twice": (in_text(_twice), "text_repeated"),
    "too few sections": (_one_section, "section_count"),
    "broken front matter": (
        lambda article, _, __: replace(clean_case(article), text=markdown_of(article).replace("slug:", "slug: [", 1)),
        "front_matter_invalid",
    ),
    "page: a stray end tag": (in_page(r"</p>", "</p></p>"), "html_error"),
    "page: overlapping elements": (in_page(r"<p>(\w+) (\w+) (\w+)", r"<p><b>\1 <i>\2</b> \3</i>"), "html_error"),
    "page: an unclosed element": (in_page(r"<p>", "<p><strong>"), "html_error"),
    "page: a block in a paragraph": (in_page(r"<p>(\w+)", r"<p><span><div>\1</div></span>"), "html_error"),
    "page: an unknown attribute": (in_page(r"<p>", '<p colour="red">'), "html_error"),
    "page: no doctype": (in_page(r"<!DOCTYPE html>\n", ""), "html_error"),
    "page: no title": (in_page(r"<title>.*?</title>", ""), "html_error"),
    "page: no language": (in_page(r' lang="en"', ""), "language_missing"),
    "page: a skipped level": (_skipped_level_of_page, "heading_skipped"),
    "page: an image without alt": (in_page(r"</p>", '</p>\n<img src="x.png">'), "image_alt_missing"),
    "page: broken JSON": (in_page(r'"headline": ', '"headline" '), "json_ld_error"),
    "page: no author": (in_json(lambda value: value["@graph"][0].pop("author")), "json_ld_error"),
    "page: no headline": (in_json(lambda value: value["@graph"][0].pop("headline")), "json_ld_error"),
    "page: an author as text": (in_json(lambda value: value["@graph"][0].update(author="me")), "json_ld_error"),
    "page: a bad date": (in_json(lambda value: value["@graph"][0].update(datePublished="5 March")), "json_ld_error"),
    "page: a relative address": (in_json(lambda value: value["@graph"][0].update(url="/a.html")), "json_ld_error"),
    "page: a type that is none": (
        in_json(lambda value: value["@graph"][0].update({"@type": "BlogPostng"})),
        "json_ld_error",
    ),
    "page: a property that is none": (in_json(lambda value: value["@graph"][0].update(headlines="x")), "json_ld_error"),
    "page: words for a number": (in_json(lambda value: value["@graph"][0].update(wordCount="many")), "json_ld_error"),
    "page: breadcrumbs out of order": (
        in_json(lambda value: value["@graph"][1]["itemListElement"][1].update(position=5)),
        "json_ld_error",
    ),
    "page: a breadcrumb without address": (
        in_json(lambda value: value["@graph"][1]["itemListElement"][0].pop("item")),
        "json_ld_error",
    ),
    "page: another context": (
        in_json(lambda value: value.update({"@context": "https://example.org"})),
        "json_ld_error",
    ),
    "page: no JSON-LD": (in_page(r"(?s)<script.*?</script>\n", ""), "json_ld_missing"),
}


# --- measuring ---


def keys(findings: Sequence[Finding]) -> Counter[FINDING_KEY]:
    return Counter((one.code, one.message, one.excerpt) for one in findings)


@dataclass(frozen=True)
class Outcome:
    defect: str
    article: str
    is_caught: bool
    found: tuple[str, ...]


def try_defect(defect: str, article: Article, articles: Sequence[Article], seed: int) -> Outcome | None:
    """None where the article has nothing that the defect could be put into (no quotation, say)."""
    injection, code = DEFECTS[defect]
    dice = random.Random(f"{seed} {defect} {article.title}")
    try:
        case = injection(article, dice, articles)
    except (LookupError, ValueError):
        return None
    clean = page_case(article) if case.name.endswith(".html") else clean_case(article)
    if code not in GROUNDING_CODES:
        case, clean = _without_sources(case), _without_sources(clean)
    new = keys(case.findings()) - clean_keys(clean)
    return Outcome(defect, article.title, any(one[0] == code for one in new), tuple(sorted({one[0] for one in new})))


def _without_sources(case: Case) -> Case:
    """Holding every number against the sources takes the most time, and is asked for where it counts."""
    return replace(case, options=case.options.model_copy(update={"sources": ()}))


_clean: dict[tuple[str, int], Counter[FINDING_KEY]] = {}


def clean_keys(case: Case) -> Counter[FINDING_KEY]:
    """Of a case that many defects are compared with."""
    key = (case.text, len(case.options.sources))
    if key not in _clean:
        _clean[key] = keys(case.findings())
    return _clean[key]


def is_measured(finding: Finding, article: Article) -> bool:
    """Whether the article's own data, counted another way, says what the warning says."""
    counts = Counter(section.title.casefold() for section in article.sections)
    sections = [sum(len(one.split()) for one in section.sentences) for section in article.sections]
    sentences = [len(one.split()) for section in article.sections for one in section.sentences]
    paragraphs = [len(paragraph.split()) for paragraph in [article.summary, *article.paragraphs]]
    measured = {
        "section_count": sum(section.level == 2 for section in article.sections) not in range(4, 13),
        "section_long": max(*sections, len(article.summary.split())) >= 300 - BORDER * 300,
        "paragraph_long": max(paragraphs) >= 150 - BORDER * 150,
        "sentences_long": sum(count > 20 for count in sentences) >= (0.25 - BORDER) * len(sentences),
        "reading_ease": sum(count > 16 for count in sentences) > 0.4 * len(sentences),
        "heading_repeated": any(count > 1 for count in counts.values()),
        "text_repeated": len(set(article.paragraphs)) < len(article.paragraphs),
    }
    return measured.get(finding.code, False)


def report(articles: Sequence[Article], seeds: int) -> int:
    missed = 0
    print(f"{'defect':36} {'expected':24} {'caught':>9}")
    for defect, (_, code) in DEFECTS.items():
        outcomes = [try_defect(defect, article, articles, seed) for article in articles for seed in range(seeds)]
        tried = [one for one in outcomes if one is not None]
        caught = sum(one.is_caught for one in tried)
        missed += len(tried) - caught
        print(f"{defect:36} {code:24} {caught:>4}/{len(tried)}")
        for one in tried:
            if not one.is_caught:
                print(f"    missed in {one.article}: found {', '.join(one.found) or 'nothing'}")
    return missed + _report_clean(articles)


def _report_clean(articles: Sequence[Article]) -> int:
    """False alarms: blocks of a clean article, and warnings that a second count does not bear out."""
    told: Counter[tuple[str, str]] = Counter()
    false: Counter[tuple[str, str]] = Counter()
    for article in articles:
        others = [other for other in articles if other is not article]
        for case in (clean_case(article, others), page_case(article)):
            findings = case.findings()
            for code, level in {(one.code, one.level.value) for one in findings}:
                found = [one for one in findings if one.code == code]
                told[code, level] += 1
                false[code, level] += level == Level.BLOCK or not all(is_measured(one, article) for one in found)
    total = 2 * len(articles)
    print(f"\n{'check (clean text)':24} {'level':6} {'told on':>9} {'false alarms':>13}")
    for (code, level), count in sorted(told.items()):
        print(f"{code:24} {level:6} {count:>4}/{total} {false[code, level] / total:>12.1%}")
    if not told:
        print("nothing is told")
    return sum(false.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=data_folder())
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.folder is None or not arguments.folder.is_dir():
        sys.exit("no articles: name their folder, or set INFIN8_DATA_DIR")
    sys.exit(1 if report(read_articles(arguments.folder), arguments.seeds) else 0)


if __name__ == "__main__":
    main()
