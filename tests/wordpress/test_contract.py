"""What publishing to WordPress promises, held by a stand-in and by a real WordPress alike."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import httpx2
import pytest

from domain.brief import PublishMode
from domain.errors import ClaimLostError, ProviderUnavailableError
from domain.publication_site import DEMO_NOTICE
from domain.publishing import PublicationResult, PublicationState
from tests.wordpress.publishing import (
    HUB,
    ODD,
    OTHER_SPOKE,
    SPOKE,
    AnySite,
    Attempt,
    LostError,
    Memory,
    Spoil,
    changed,
    creates,
    odd,
    publisher,
    request,
    sets_live,
)
from tests.wordpress.real_site import RealSite

PUBLISHED, UNCHANGED, FAILED = PublicationState.PUBLISHED, PublicationState.UNCHANGED, PublicationState.FAILED


async def as_user(site: AnySite, role: str, method: str, path: str, **fields: Any) -> Any:
    """What a person does on the site."""
    async with httpx2.AsyncClient(auth=(role, site.passwords[role])) as http:
        answer = await http.request(method, f"{site.url}/?rest_route=/wp/v2/posts{path}", json=fields or None)
        assert answer.is_success, answer.text
        return answer.json()


def only_post(site: AnySite) -> dict[str, Any]:
    (post,) = site.posts()
    return post


@pytest.mark.parametrize("role", ["administrator", "editor", "author"])
async def test_three_identical_publishes_make_one_live_post(site: AnySite, role: str) -> None:
    memory, word_press = Memory(), publisher(site, role)
    states = [memory.note(await word_press.publish(request(), memory)).state for _ in range(3)]
    assert states == [PUBLISHED, UNCHANGED, UNCHANGED]
    post = only_post(site)
    assert (post["status"], post["slug"], str(post["id"])) == ("publish", HUB.slug, memory.external_id)
    assert f"publication={request().publication_id} content={request().content_hash}" in post["content"]
    assert ('<script type="application/ld+json">' in post["content"]) is (role != "author")
    assert "@context" not in post["content"] or role != "author"


async def test_text_that_something_may_spoil_arrives_as_it_was(site: AnySite) -> None:
    for role in ("author", "editor"):
        site.clear()
        memory, word_press = Memory(), publisher(site, role)
        result = memory.note(await word_press.publish(request(odd()), memory))
        assert result.state is PUBLISHED, result.reason
        assert (await word_press.publish(request(odd()), memory)).state is UNCHANGED
        if isinstance(site, RealSite):
            page = unescape(httpx2.get(result.url or "").text.partition("<body>")[2])
            shown = re.sub(r"\s+", " ", page)
            assert "100% 😀 [gallery]" in shown
            assert "two [video]" in shown
            assert "naïve 日本" in shown
            assert "it’s’ &amp; naïve" in shown  # the text says &amp; itself


async def test_draft_mode_leaves_a_draft_and_what_a_person_does_with_it(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    wanted = request(mode=PublishMode.DRAFT)
    assert memory.note(await word_press.publish(wanted, memory), PublishMode.DRAFT).state is PUBLISHED
    assert only_post(site)["status"] == "draft"
    assert (await word_press.publish(wanted, memory)).state is UNCHANGED
    await as_user(site, "administrator", "POST", f"/{memory.external_id}", status="publish")
    assert (await word_press.publish(wanted, memory)).state is UNCHANGED
    assert only_post(site)["status"] == "publish"


async def test_new_content_updates_the_same_post(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    memory.note(await word_press.publish(request(), memory))
    result = await word_press.publish(request(changed()), memory)
    assert (result.state, result.external_id) == (PUBLISHED, memory.external_id)
    assert "was entirely rewritten" in only_post(site)["content"]
    assert only_post(site)["status"] == "publish"


async def test_demo_text_says_so(site: AnySite) -> None:
    await publisher(site).publish(request(is_demo_text=True), Memory())
    assert DEMO_NOTICE.partition(":")[0] in only_post(site)["content"]


# Lost answers, deaths, several at once


@pytest.mark.parametrize("lost", [creates, sets_live], ids=["create", "set live"])
async def test_a_lost_answer_is_looked_up_before_anything_is_tried_again(
    site: AnySite, lost: Callable[[httpx2.Request], bool]
) -> None:
    memory, word_press = Memory(), publisher(site, "author", Spoil(lost))
    with pytest.raises(ProviderUnavailableError):
        await word_press.publish(request(), memory)
    result = await word_press.publish(request(), memory)
    assert result.state in (PUBLISHED, UNCHANGED)
    assert only_post(site)["status"] == "publish"


async def test_death_between_the_post_and_its_record_leaves_one_post(site: AnySite) -> None:
    memory = Memory(dies_at_keep=1)
    with pytest.raises(LostError):
        await publisher(site).publish(request(), memory)
    assert only_post(site)["status"] == "draft"
    assert (await publisher(site).publish(request(), memory)).state is PUBLISHED
    assert (only_post(site)["status"], str(only_post(site)["id"])) == ("publish", memory.external_id)


async def test_two_attempts_that_both_saw_nothing_leave_one_post(site: AnySite) -> None:
    """The first is given up just before it posts, and posts all the same, together with the second."""
    both, memory, stalled = asyncio.Barrier(2), Memory(), asyncio.Event()

    async def given_up() -> None:
        stalled.set()
        await both.wait()

    async def first() -> None:
        with contextlib.suppress(ClaimLostError):
            await publisher(site).publish(request(), Attempt(memory, given_up))

    async def second() -> PublicationResult:
        await stalled.wait()
        try:
            return await publisher(site).publish(request(), Attempt(memory, both.wait))
        except ProviderUnavailableError:  # the first's draft was still there: Temporal tries again
            await one
            return await publisher(site).publish(request(), Attempt(memory))

    one = asyncio.create_task(first())
    result, _ = await asyncio.gather(second(), one)
    assert (result.state in (PUBLISHED, UNCHANGED), result.external_id) == (True, memory.external_id), result
    post = only_post(site)
    assert (post["status"], post["slug"], str(post["id"])) == ("publish", HUB.slug, memory.external_id)


async def test_a_zombie_that_wakes_after_another_published_leaves_one_post(site: AnySite) -> None:
    memory = Memory()

    async def given_up() -> None:
        later = await publisher(site).publish(request(), Attempt(memory))
        assert later.state is PUBLISHED

    with contextlib.suppress(ClaimLostError):
        await publisher(site).publish(request(), Attempt(memory, given_up))
    post = only_post(site)
    assert (post["status"], post["slug"], str(post["id"])) == ("publish", HUB.slug, memory.external_id)


async def test_a_draft_left_behind_by_the_dead_goes_to_the_trash(site: AnySite) -> None:
    with pytest.raises(LostError):
        await publisher(site).publish(request(), Memory(dies_at_keep=1))
    with pytest.raises(ProviderUnavailableError):  # it had not seen the first, and never learned of its own
        await publisher(site, "editor", _sees_nothing(), Spoil(creates)).publish(request(), Memory())
    assert [post["status"] for post in site.posts()] == ["draft", "draft"]
    memory = Memory()
    assert (await publisher(site).publish(request(), memory)).state is PUBLISHED
    assert sorted(post["status"] for post in site.posts()) == ["publish", "trash"]
    assert str(next(post["id"] for post in site.posts() if post["status"] == "publish")) == memory.external_id


def _sees_nothing() -> Spoil:
    def is_look_up(sent: httpx2.Request) -> bool:
        return sent.method == "GET" and "slug=" in str(sent.url)

    return Spoil(is_look_up, answer=lambda sent: httpx2.Response(200, json=[], request=sent))


# What others did


@pytest.mark.parametrize("status", ["publish", "draft"])
async def test_somebody_elses_post_with_our_slug_is_never_touched(site: AnySite, status: str) -> None:
    theirs = await as_user(site, "administrator", "POST", "", title="Theirs", slug=HUB.slug, status=status, content="x")
    result = await publisher(site).publish(request(), Memory())
    assert result.state is FAILED
    assert f"post {theirs['id']}" in (result.reason or "")
    assert (only_post(site)["title"], only_post(site)["content"]) == ("Theirs", "x")


async def test_a_slug_taken_by_what_we_can_not_see_is_noticed_and_undone(site: AnySite) -> None:
    await as_user(site, "administrator", "POST", "", title="Theirs", slug=HUB.slug, status="draft", content="x")
    memory = Memory()
    result = await publisher(site, "author").publish(request(), memory)
    assert result.state is FAILED
    assert f"{HUB.slug}-2" in (result.reason or "")
    assert (only_post(site)["title"], only_post(site)["status"]) == ("Theirs", "draft")


async def test_what_a_person_edited_stays(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    memory.note(await word_press.publish(request(), memory))
    text = only_post(site)["content"].replace("Clean invoices", "Spotless invoices")
    await as_user(site, "administrator", "POST", f"/{memory.external_id}", content=text)
    same = await word_press.publish(request(), memory)
    assert (same.state, "edited on the site" in (same.reason or "")) == (UNCHANGED, True)
    new = await word_press.publish(request(changed()), memory)
    assert (new.state, "edited on the site" in (new.reason or "")) == (FAILED, True)
    assert (await word_press.relink(request(), memory)).state is UNCHANGED
    assert "Spotless invoices" in only_post(site)["content"]


async def test_trashed_is_refused_and_deleted_is_made_anew(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    memory.note(await word_press.publish(request(), memory))
    first = memory.external_id
    await as_user(site, "administrator", "DELETE", f"/{first}")
    refused = await word_press.publish(request(), memory)
    assert (refused.state, "trash" in (refused.reason or "")) == (FAILED, True)
    await as_user(site, "administrator", "DELETE", f"/{first}&force=true")
    assert memory.note(await word_press.publish(request(), memory)).state is PUBLISHED
    assert memory.external_id != first
    assert only_post(site)["status"] == "publish"


async def test_taken_down_by_a_person_is_not_put_up_again(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    memory.note(await word_press.publish(request(), memory))
    await as_user(site, "administrator", "POST", f"/{memory.external_id}", status="draft")
    assert (await word_press.publish(request(), memory)).state is FAILED
    assert only_post(site)["status"] == "draft"


async def test_a_number_that_belongs_to_another_post_now_is_not_touched(site: AnySite) -> None:
    other = await as_user(site, "administrator", "POST", "", title="Another", slug="another", status="publish")
    memory = Memory(external_id=str(other["id"]), confirmed_mode=PublishMode.PUBLISH)
    for result in (
        await publisher(site).publish(request(), memory),
        await publisher(site).unpublish(request(), memory),
    ):
        assert (result.state, "another post" in (result.reason or "")) == (FAILED, True)
    assert (only_post(site)["title"], only_post(site)["status"]) == ("Another", "publish")


# Links, taking back


@pytest.mark.parametrize(
    "permalinks", ["/%postname%/", "/%year%/%monthnum%/%postname%/", ""], ids=["name", "date", "plain"]
)
async def test_links_between_articles_lead_to_where_the_site_has_them(site: AnySite, permalinks: str) -> None:
    site.clear(permalinks)
    word_press, memories, addresses = publisher(site, "editor"), {}, {}
    for document in (HUB, SPOKE, OTHER_SPOKE):
        memories[document.slug] = Memory()
        result = await word_press.publish(request(document, addresses=addresses), memories[document.slug])
        memories[document.slug].note(result)
        addresses[document.slug] = result.url or ""
    for _ in range(2):
        for document in (HUB, SPOKE, OTHER_SPOKE):
            wanted = request(document, addresses=addresses)
            result = await word_press.relink(wanted, memories[document.slug])
            assert result.state in (PUBLISHED, UNCHANGED), result.reason
    assert result.state is UNCHANGED
    for document in (HUB, SPOKE, OTHER_SPOKE):
        post = next(one for one in site.posts() if one["slug"] == document.slug)
        related = post["content"].partition("Related articles")[2]
        linked = set(re.findall(r'href="([^"]+)"', related))
        assert linked == {addresses[link.slug] for link in document.links}
        json_ld = re.search(r'<script type="application/ld\+json">(.*?)</script>', post["content"], re.DOTALL)
        assert json_ld
        assert json.loads(json_ld[1])["@graph"][0]["url"] == addresses[document.slug]
        if isinstance(site, RealSite):
            assert all(httpx2.get(address).status_code == 200 for address in linked)


async def test_unpublish_makes_a_draft_and_republish_the_same_post(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site, "author")
    memory.note(await word_press.publish(request(), memory))
    content = only_post(site)["content"]
    for said in (None, "nothing of it was public any more"):
        result = await word_press.unpublish(request(), memory)
        assert (result.state, result.reason) == (PublicationState.UNPUBLISHED, said)
        assert (only_post(site)["status"], only_post(site)["content"]) == ("draft", content)
    memory.confirmed_mode = PublishMode.DRAFT
    result = await word_press.publish(request(), memory)
    assert (result.state, only_post(site)["status"]) == (PUBLISHED, "publish")


async def test_unpublish_finds_what_was_never_recorded(site: AnySite) -> None:
    memory = Memory()
    await publisher(site).publish(request(), memory)
    await publisher(site).unpublish(request(), Memory())
    assert only_post(site)["status"] == "draft"


async def test_unpublish_of_what_is_gone_or_trashed_is_done(site: AnySite) -> None:
    memory, word_press = Memory(), publisher(site)
    await word_press.publish(request(), memory)
    for path in (f"/{memory.external_id}", f"/{memory.external_id}&force=true"):
        await as_user(site, "administrator", "DELETE", path)
        assert (await word_press.unpublish(request(), memory)).state is PublicationState.UNPUBLISHED


# Who may what


@pytest.mark.parametrize("role", ["contributor", "subscriber"])
async def test_a_user_who_may_not_publish_is_told_so(site: AnySite, role: str) -> None:
    result = await publisher(site, role).publish(request(), Memory())
    assert (result.state, "role" in (result.reason or "")) == (FAILED, True)
    assert not [post for post in site.posts() if post["status"] == "publish"]


async def test_a_wrong_password_is_told_and_shown_nowhere(site: AnySite) -> None:
    secret = "abcd efgh ijkl mnop qrst uvwx"
    word_press = publisher(site, application_password=secret)
    result = await word_press.publish(request(), Memory())
    assert result.state is FAILED
    assert "refused the credentials of editor" in (result.reason or "")
    assert secret not in repr(result)
    assert secret.replace(" ", "") not in repr(result)


async def test_what_is_odd_in_a_title_is_shown_as_it_is(site: AnySite) -> None:
    memory = Memory()
    await publisher(site, "author").publish(request(odd()), memory)
    title = only_post(site)["title"]
    assert title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == ODD
