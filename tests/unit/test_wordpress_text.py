import json
import re
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Settings
from domain.errors import ConfigurationError
from domain.wordpress import PostText, first_difference, parse_sites, post_text, same_text, text_digest
from tests.unit.quality.samples import HUB
from tests.unit.test_publishing import request_of

SECRET = "abcd efgh ijkl mnop"
SITE = {"url": "https://blog.acme.example/", "user": "anna", "application_password": SECRET}


def post(**changes: object) -> PostText:
    return post_text(request_of(HUB.document(), **changes), address="https://blog.example/a/", with_json_ld=True)


def test_text_carries_its_mark_and_knows_when_it_was_changed() -> None:
    text = post()
    assert text.mark
    assert text.mark.publication_id == request_of(HUB.document()).publication_id
    assert text.is_as_marked
    for field, value in (("title", "x"), ("excerpt", "x"), ("content", text.content.replace("invoice", "bill", 1))):
        assert not text.model_copy(update={field: value}).is_as_marked, field
    assert not text.model_copy(update={"content": "no mark"}).is_as_marked


def test_blocks_are_whole_and_in_pairs() -> None:
    content = post().content
    opened, closed = re.findall(r"<!-- wp:(\w+)", content), re.findall(r"<!-- /wp:(\w+) -->", content)
    assert opened == closed
    assert "\n<!-- wp:html -->\n<!-- infin8 " in content
    assert "<h1" not in content


def test_spellings_of_the_same_are_the_same() -> None:
    one = PostText(
        title="A &amp; B", excerpt="“x”", content='<p>a&nbsp;b <a href="/x?a=1&amp;b">😀</a></p>\r\n<p>c</p>'
    )
    other = PostText(
        title="A &#38; B",
        excerpt="&#8220;x&#8221;",
        content="<p>a\u00a0b <a href='/x?a=1&#038;b'>&#x1f600;</a></p>\n<p>c</p>",
    )
    assert same_text(one, other)
    assert first_difference(one, other) == ""
    assert not same_text(one, other.model_copy(update={"title": "A &lt;b&gt; B"}))
    assert "title" in first_difference(one, other.model_copy(update={"title": "A & C"}))


@given(st.text(max_size=80), st.text(max_size=80))
def test_digests_differ_where_texts_do(one: str, other: str) -> None:
    digests = [text_digest("t", "e", f"<p>{escape(text)}</p>") for text in (one, other)]
    texts = [PostText(title="t", excerpt="e", content=f"<p>{escape(text)}</p>") for text in (one, other)]
    assert (digests[0] == digests[1]) is same_text(*texts)


@given(st.text(alphabet="[]/a b<&\\\"'", max_size=30))
def test_nothing_in_a_text_looks_like_a_shortcode(text: str) -> None:
    html = f"<h1>x</h1>\n<p>{escape(text)} [gallery ids=1] [/x] [[y]]</p>"
    document = HUB.document().model_copy(update={"html": html, "title": text or "x"})
    content = post_text(
        request_of(HUB.document()).model_copy(update={"document": document}),
        address="https://b.example/",
        with_json_ld=True,
    ).content
    assert not re.search(r"\[(?=[A-Za-z/\[])", content.partition("<script")[0])
    found = re.search(r"<script[^>]*>(.*?)</script>", content)
    assert found
    assert json.loads(found[1])["@context"] == "https://schema.org"


def test_json_ld_speaks_of_the_address_on_the_site() -> None:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', post().content)
    assert found
    graph = json.loads(found[1])["@graph"]
    assert graph[0]["mainEntityOfPage"]["@id"] == "https://blog.example/a/"
    assert [item["position"] for item in graph[1]["itemListElement"]] == [1, 2]
    assert "/articles/" not in found[1]


# Settings


def test_sites_by_domain_and_a_default() -> None:
    settings = Settings(
        _env_file=None,
        wordpress_url="https://all.example",
        wordpress_user="bert",
        wordpress_application_password="bertspassword",
        wordpress_sites=json.dumps({"https://www.Acme.example/": SITE}),
    )
    sites = settings.wordpress
    acme, other = sites.of("acme.example"), sites.of("other.example")
    assert acme
    assert other
    assert (acme.url, acme.user, other.user) == ("https://blog.acme.example", "anna", "bert")
    assert {one.get_secret_value() for one in settings.secrets} >= {SECRET, "bertspassword"}
    assert SECRET not in repr(settings)
    assert Settings(_env_file=None, wordpress_sites=json.dumps({"a.example": SITE})).wordpress.of("b.example") is None


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"a.example": 1}', json.dumps({"a.example": {**SITE, "more": SECRET}}),
        json.dumps({"a.example": {**SITE, "url": f"https://u:{SECRET}@x.example"}}),
        json.dumps({"a.example": {**SITE, "url": "ftp://x.example"}}), json.dumps({"": SITE}),
        json.dumps({"a.example": {**SITE, "user": " "}}), json.dumps({"a.example": {"url": "https://x.example"}}),
        json.dumps({"a.example": SITE})[:-3] + SECRET, json.dumps({"a.example": {**SITE, "url": "https://x:99999"}}),
    ],
)  # fmt: skip
def test_sites_that_are_wrong_are_told_without_their_secrets(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_sites(text, "INFIN8_WORDPRESS_SITES")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_of_a_site_and_a_missing_file_are_told() -> None:
    for changes, said in (
        ({"wordpress_url": "https://all.example"}, "has no user"),
        ({"wordpress_user": "anna"}, "URL"),
        ({"wordpress_sites": "nowhere.json"}, "neither a JSON object nor the path"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            _ = Settings(_env_file=None, **changes).wordpress
