"""Files as people write them: what is found, where exactly it stands, and that odd ones do no harm."""

import codecs
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadInputError
from domain.quality import CheckOptions, FileReport, Finding, check_file, decoded, read_article_file
from domain.verdict import Level

CLEAN = """\
---
title: How small bakeries plan a night of sourdough bread
description: Plan a night of sourdough backwards from the shelf, with an oven rhythm, a starter schedule and a list of \
what was left over.
slug: sourdough-planning
keyword: sourdough planning
---

# How small bakeries plan sourdough

Begin with the oven, since a deck holds only so many loaves.

## Begin at the oven

Sourdough planning counts back from the hour when the shop opens.

## Feed the starter

A starter is at its best about six hours after it was fed.

- hold back a little of every mix;
- keep a spare jar in the fridge.

## Order the flour

Order by the week, and order again when the store runs low.

## Look at what is left

Write down what is left at closing time.
"""


def report_of(
    text: str, *, name: str = "a.md", others: Sequence[tuple[str, str]] = (), **options: object
) -> FileReport:
    beside = [read_article_file(*other) for other in others]
    return check_file(read_article_file(name, text), CheckOptions.model_validate(options), beside, lambda _: False)


def only(report: FileReport, code: str) -> Finding:
    found = [finding for finding in report.findings if finding.code == code]
    assert len(found) == 1, report.findings
    return found[0]


def codes(report: FileReport) -> set[str]:
    return {finding.code for finding in report.findings}


def test_clean_file_passes_and_says_what_was_not_checked() -> None:
    report = report_of(CLEAN)
    assert report.findings == ()
    assert report.level is Level.PASS
    assert report.figures["sections"] == 4
    assert report.figures["keyword_density"] > 0
    assert {line.split(" (")[0] for line in report.not_checked} == {
        "numbers and quotations",
        "term coverage",
        "likeness to other articles",
    }


DEFECTS: list[tuple[str, str, str, str]] = [
    ("## Feed the starter", "#### Feed the starter", "heading_skipped", "#### Feed the starter"),
    ("## Feed the starter", "## begin at the OVEN", "heading_duplicate", "## begin at the OVEN"),
    ("## Feed the starter", "Feed it\n=======", "h1_count", "Feed it"),
    ("## Feed the starter", "##", "heading_empty", "##"),
    ("keep a spare jar", "see [jars](gone.html), keep a spare jar", "link_unresolved", "gone.html"),
    ("keep a spare jar", "see [jars](#gone), keep a spare jar", "link_unresolved", "#gone"),
    ("keep a spare jar", "![](jar.png)", "image_alt_missing", "jar.png"),
    ("keep a spare jar", '<img src="jar.png">', "image_alt_missing", "jar.png"),
    ("Order by the week", "In our **experience** order by the week", "banned_phrase", "In our **experience"),
    ("Order by the week", "It is a game-changer to order", "banned_phrase", "game-changer"),
    ("Order by the week", "Order 37% more by the week", "number_not_in_source", "37%"),
    ("Order by the week", "Order “as if there were none”", "quotation_not_in_source", "“as if there were none”"),
    ("slug: sourdough-planning", "slug: Sourdough_Planning", "slug_invalid", "slug: Sourdough_Planning"),
    ("title: How small bakeries plan a night of", "title: Some", "meta_title_width", "title: Some sourdough bread"),
]


@pytest.mark.parametrize(("before", "after", "code", "excerpt"), DEFECTS)
def test_finding_stands_where_the_defect_is(before: str, after: str, code: str, excerpt: str) -> None:
    text = CLEAN.replace(before, after, 1)
    finding = only(report_of(text, banned_phrases=("game changer",), sources=(CLEAN,)), code)
    assert finding.excerpt == excerpt
    assert finding.span is not None
    assert text[finding.span.start : finding.span.end] == excerpt
    assert finding.span.line == text[: finding.span.start].count("\n") + 1
    assert finding.fix
    assert "\n" not in finding.message + finding.fix


def test_second_occurrence_is_told_at_its_own_place() -> None:
    text = CLEAN.replace("Order by the week", "We took 12 of 15 and 15 of 99 by the week")
    report = report_of(text, sources=(f"{CLEAN} 12 of 15",))
    assert [finding.excerpt for finding in report.findings if finding.code == "number_not_in_source"] == ["99"]


@pytest.mark.parametrize(
    "piece",
    [
        "```\n# no heading\n#### nor this\n```",
        "~~~\n## Begin at the oven\n~~~",
        "    # indented code\n",
        "> ##no heading",
        "| a | b |\n|---|---|\n| # x | [top](#begin-at-the-oven) |",
        "1. one\n   1. two\n      - three\n\n        four",
        "<!-- ## a comment -->",
        "<details>\n<summary>More</summary>\n\nText of it.\n\n</details>",
        "[the oven](#begin-at-the-oven) and <https://a.example/?a=1&b=2>",
        "a < b && c > d &copy; \\# \\[x\\]",
        "Text with a footnote [\\[1\\]](#ref-1).\n\n## References\n\n1. [A page](https://a.example/), a.example",
    ],
)
def test_odd_markdown_is_no_defect(piece: str) -> None:
    report = report_of(f"{CLEAN}\n{piece}\n")
    assert [finding for finding in report.findings if finding.level is Level.BLOCK] == []


def test_setext_headings_are_headings() -> None:
    text = CLEAN.replace("# How small bakeries plan sourdough", "How small bakeries plan sourdough\n====").replace(
        "## Feed the starter", "Feed the starter\n---"
    )
    assert report_of(text).findings == ()


def test_html_inside_of_markdown_is_held_to_the_standard() -> None:
    text = CLEAN.replace(
        "Order by the week", '<div>\n<img src="a.png" alt="x" width="wide">\n</div>\n\nOrder by the week'
    )
    finding = only(report_of(text), "html_error")
    assert finding.line == text[: text.index("<img")].count("\n") + 1
    assert "width" in finding.message


def test_paragraph_after_the_references_is_read() -> None:
    stuffed = "Sourdough planning is good. " * 12
    text = f"{CLEAN}\n## References\n\n1. [x](https://a.example)\n\n{stuffed}\n"
    assert "keyword_density" in codes(report_of(text))


def test_links_are_asked_for_by_their_path() -> None:
    text = CLEAN.replace("Order by the week", "[a](there.html#x) [b](/site) [c](https://other.example/x) [d](gone)")
    asked: list[str] = []

    def exists(path: str) -> bool | None:
        asked.append(path)
        return {"there.html": True, "/site": None}.get(path, False)

    report = check_file(read_article_file("a.md", text), CheckOptions(), (), exists)
    assert asked == ["there.html", "/site", "gone"]
    assert {(one.code, one.excerpt) for one in report.findings} == {
        ("link_unresolved", "gone"),
        ("link_unchecked", "/site"),
    }


# --- front matter ---


def test_toml_is_front_matter_too() -> None:
    report = report_of('+++\ntitle = "x"\nslug = "A b"\n+++\n# T\n\nText.\n')
    assert "slug_invalid" in codes(report)
    assert only(report, "slug_invalid").line == 3


@pytest.mark.parametrize("matter", ["title: [", "title: *x", "a: b: c", "\tx: 1"])
def test_broken_front_matter_is_told(matter: str) -> None:
    finding = only(report_of(f"---\n{matter}\n---\n# T\n"), "front_matter_invalid")
    assert finding.line == 1


def test_text_between_two_lines_is_no_front_matter() -> None:
    assert "front_matter_invalid" not in codes(report_of("---\n\n# T\n\ntext\n\n---\n"))


def test_front_matter_that_names_itself_over_and_over_is_read_all_the_same() -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    report = report_of(f"---\na0: &a0 [x]\n{levels}\ntitle: *a11\n---\n# T\n")
    assert "meta_title_missing" in codes(report)


# --- other articles ---


def test_articles_of_one_site_are_compared() -> None:
    other = CLEAN.replace("# How small bakeries plan sourdough", "# Another title")
    report = report_of(CLEAN, others=[("b.md", other)])
    assert codes(report) == {"near_duplicate", "slug_not_unique", "meta_title_not_unique", "cannibalization"}


def test_the_same_article_as_html_is_no_other_article() -> None:
    page = (
        '<!DOCTYPE html><html lang="en"><head><title>x</title><link rel="canonical" href="https://a.example/s/{}.html">'
    )
    html = f"{page.format('sourdough-planning')}</head><body><h1>T</h1><p>{CLEAN}</p></body></html>"
    assert codes(report_of(CLEAN, others=[("b.html", html)])) == set()
    assert "near_duplicate" in codes(
        report_of(CLEAN, others=[("b.html", html.replace("sourdough-planning.", "other."))])
    )


def test_terms_that_are_missing_are_told_where_to_write_of_them() -> None:
    report = report_of(CLEAN, terms=("rye flour", "proofing basket", "oven"))
    fixes = " ".join(one.fix for one in report.findings if one.code == "terms_uncovered")
    assert "in section 3, write about “rye flour”" in fixes
    assert "“proofing basket”" in fixes


# --- pages ---


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>How small bakeries plan a night of sourdough</title>
<meta name="description" content="Plan a night of sourdough backwards from the shelf, with an oven rhythm, a starter \
schedule and a list of what was left.">
</head>
<body>
<header><p>Our magazine about bread and the people who bake it at night</p></header>
<nav><h2>In this article</h2><ul><li><a href="#oven">The oven</a></li></ul></nav>
<main>
<article>
<h1>How bakeries plan</h1>
<h2 id="oven">The oven</h2>
<p>Begin at the oven.</p>
</article>
</main>
</body>
</html>
"""


def test_page_is_read_without_what_stands_beside_its_text() -> None:
    article = read_article_file("a.html", PAGE)
    assert article.text.title == "How bakeries plan"
    assert [block.text for block in article.text.blocks] == ["Begin at the oven."]
    assert codes(report_of(PAGE, name="a.html")) == {"section_count", "json_ld_missing"}


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("<p>Begin at the oven.</p>", "<p>Begin at the <b>oven.</p>", "html_error"),
        ("<p>Begin at the oven.</p>", "<p>Begin at the oven.</p></p>", "html_error"),
        ("<p>Begin at the oven.</p>", "<ul><p>x</p></ul>", "html_error"),
        ("<p>Begin at the oven.</p>", "<center>x</center>", "html_error"),
        ("<p>Begin at the oven.</p>", '<p id="oven">x</p>', "id_duplicate"),
        ("<p>Begin at the oven.</p>", '<img src="x.png">', "image_alt_missing"),
        ("<p>Begin at the oven.</p>", '<p align="left">x</p>', "html_obsolete"),
        (' lang="en"', "", "language_missing"),
        ("<title>How small bakeries plan a night of sourdough</title>", "", "html_error"),
        ("<!DOCTYPE html>\n", "", "html_error"),
        ('href="#oven"', 'href="#ovens"', "link_unresolved"),
        ('href="#oven"', 'href="javascript:x()"', "link_foreign"),
    ],
)
def test_defect_of_a_page_is_found_in_its_line(before: str, after: str, code: str) -> None:
    text = PAGE.replace(before, after, 1)
    found = [one for one in report_of(text, name="a.html").findings if one.code == code]
    assert found
    place = text.index(after) if after else 0
    assert any(one.span is None or abs(one.span.line - text[:place].count("\n") - 1) <= 2 for one in found)


def test_fragment_is_read_as_html() -> None:
    report = report_of("<h1>T</h1>\n<p>Text &amp; more</p>\n<h3>x</h3>", name="a.html")
    assert only(report, "heading_skipped").line == 3


# --- files that are none ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (bytes(range(256)), "is no text"),
        (b"# x\n\ncaf\xe9", "is not in UTF-8 (line 3)"),
        (b"# x\n" + b"word " * 500_000, "2.5 million characters"),
    ],
)
def test_file_that_can_not_be_checked_is_refused_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        decoded(content, "a.md")
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.md ")


def test_encodings_and_line_ends_come_out_as_one() -> None:
    wanted = "# Café\n\nx\n"
    crlf = wanted.replace("\n", "\r\n")
    assert decoded(wanted.encode(), "a") == wanted
    assert decoded(crlf.encode(), "a") == wanted
    assert decoded(codecs.BOM_UTF8 + crlf.encode(), "a") == wanted
    assert decoded(codecs.BOM_UTF16_LE + wanted.encode("utf-16-le"), "a") == wanted
    assert decoded(wanted.replace("\n", "\r").encode(), "a") == wanted
    html = '<meta charset="iso-8859-1"><p>Café'
    assert decoded(html.encode("latin-1"), "a.html") == html


def test_picture_in_the_text_does_not_count_as_text() -> None:
    content = b'<img alt="x" src="data:image/png;base64,' + b"A" * 3_000_000 + b'">'
    assert "html_error" not in codes(report_of(decoded(content, "a.html"), name="a.html"))


@pytest.mark.parametrize(
    "text", ["[" * 3000, "*a **b " * 1000, "> " * 300 + "x", "<div>" * 300, "<b>" * 200 + "x", '"' * 999]
)
@pytest.mark.parametrize("name", ["a.md", "a.html"])
def test_hostile_nesting_ends(name: str, text: str) -> None:
    assert report_of(f"# x\n\n{text}", name=name).findings


PIECES = st.lists(
    st.sampled_from(
        [
            "# A\n",
            "## A\n",
            "#### B\n",
            "\n",
            "\n\n",
            "- x\n",
            "  - y\n",
            "> q\n",
            "```\n",
            "<p>",
            "</p>",
            "<b>",
            "<li>",
            "[a](b)",
            "![](c)",
            "<img>",
            "&x;",
            "A\n===\n",
            "| a |\n|---|\n",
            "“q” 12%",
            "\u2028",
            "---\n",
            "a: b\n",
            "<a",
            "<script type='application/ld+json'>{\"@type\":1}</script>",
            "<!--",
            "-->",
            "<svg>",
            "</svg>",
            "<table>",
            "<td>",
        ]
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, name=st.sampled_from(["a.md", "a.html", "a.txt"]))
def test_any_text_is_checked_and_every_place_is_in_it(pieces: list[str], name: str) -> None:
    text = "".join(pieces)
    for finding in report_of(text, name=name, keyword="A", terms=("x", "zz"), sources=("q",)).findings:
        assert finding.message
        assert "\n" not in finding.message + finding.fix + finding.excerpt
        if finding.span:
            assert 0 <= finding.span.start <= finding.span.end <= len(text)
            assert finding.span.line == text[: finding.span.start].count("\n") + 1
