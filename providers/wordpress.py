"""Publishes to WordPress over REST with an application password: one post per publication, whatever happens between.

Drafts first: a post is created as a draft that carries our mark, its id is recorded, its text is read back and
compared, and only the recorded post is ever set live. WordPress has no unique key that could keep two posts apart; the
record has (``PublicationRecord.keep``): of two publishers the first to record wins, the other deletes the draft that
it has just made. A post that somebody else made, moved to the trash or changed is left alone, and said.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2

from domain.assembly import content_hash
from domain.brief import PublishMode
from domain.errors import ProviderUnavailableError
from domain.publishing import (
    PublicationRecord,
    PublicationRequest,
    PublicationResult,
    PublicationState,
    SiteDescription,
)
from domain.wordpress import (
    PostText,
    WordPressSite,
    WordPressSites,
    first_difference,
    no_site_message,
    post_text,
    same_text,
)
from providers.wordpress_rest import NotFoundError, RefusedError, SiteSession

POSTS = "/wp/v2/posts"
LIVE, DRAFT, TRASH = "publish", "draft", "trash"
FOUND_MAX = 100
TRASHED_SUFFIX = "__trashed"
RENAMED_MAX = 4
CONNECT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Post:
    """A post as REST shows it to somebody who may edit it."""

    id: str
    status: str
    slug: str
    link: str
    text: PostText
    permalink_template: str
    may_write_any_html: bool

    @property
    def address(self) -> str:
        """Where readers find it when it is live; for a draft as far as the site's permalinks tell."""
        return self.permalink_template.replace("%postname%", self.slug) or self.link

    def is_of(self, publication_id: UUID) -> bool:
        mark = self.text.mark
        return mark is not None and mark.publication_id == publication_id


class WordPressPublisher:
    """``sites`` are the operator's: a site may stand at a private address."""

    def __init__(
        self,
        sites: WordPressSites,
        *,
        timeout_seconds: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._sites = sites
        self._timeout_seconds = timeout_seconds
        timeout = httpx2.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds))
        self._http = httpx2.AsyncClient(
            follow_redirects=False, trust_env=False, timeout=timeout, transport=transport, cookies=None
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def publish(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        """Draft or live as the request's mode says. Raises TransientError for what may pass by itself."""
        try:
            _check(request)
            async with self._posts(request) as posts:
                return await posts.publish(record)
        except RefusedError as error:
            return _failed(str(error))

    async def relink(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        """Links of a post that stands as we wrote it; UNCHANGED with the reason where it does not."""
        try:
            async with self._posts(request) as posts:
                return await posts.relink(record)
        except RefusedError as error:
            return _failed(str(error))

    async def unpublish(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        """Back to a draft: nothing is deleted, and the text stays as it is."""
        try:
            async with self._posts(request) as posts:
                return await posts.unpublish(record)
        except RefusedError as error:
            return _failed(str(error))

    async def finish(self, workflow_id: UUID, site: SiteDescription) -> str:
        """WordPress keeps index, feed and sitemap itself; the site's address."""
        del workflow_id
        configured = self._sites.of(site.domain)
        return configured.url if configured else ""

    async def check_site(self, site: WordPressSite) -> str:
        """Who may do what, in one line. Raises RefusedError or TransientError with what is wrong."""
        session = SiteSession(self._http, site, task_seconds_max=self._timeout_seconds)
        await session.open()
        user = await session.get("/wp/v2/users/me", context="edit")
        abilities = user.get("capabilities", {}) if isinstance(user, dict) else {}
        if not abilities.get("publish_posts") or not abilities.get("edit_published_posts"):
            raise RefusedError(f"{site.user} may not publish posts at {site.url}: give that user the role Author")
        structured = "with" if abilities.get("unfiltered_html") else "without (the role Editor could)"
        return f"{site.url} as {site.user}, may publish, {structured} structured data"

    @asynccontextmanager
    async def _posts(self, request: PublicationRequest) -> AsyncIterator["_Posts"]:
        site = self._sites.of(request.domain)
        if site is None:
            raise RefusedError(f"{no_site_message(request.domain)} for the worker, then retry")
        session = SiteSession(self._http, site, task_seconds_max=self._timeout_seconds)
        await session.open()
        yield _Posts(session, request, site.user)


def _failed(reason: str) -> PublicationResult:
    return PublicationResult(state=PublicationState.FAILED, reason=reason)


def _check(request: PublicationRequest) -> None:
    found = content_hash(request.document)
    if found != request.content_hash or request.slug != request.document.slug:
        raise RefusedError(
            f"the article's content ({found[:12]}…) is not what was approved ({request.content_hash[:12]}…): "
            "approve its present content"
        )


class _Posts:
    """The posts of one publication at one site."""

    def __init__(self, session: SiteSession, request: PublicationRequest, user: str) -> None:
        self._session = session
        self._request = request
        self._user = user
        self._wrote = False
        self._given_slug = ""

    # Publishing -------------------------------------------------------------------------------------------------

    async def publish(self, record: PublicationRecord) -> PublicationResult:
        post = await self._standing(record)
        if post is None:
            post = await self._create(record) or await self._made_by_another(record)
        elif note := self._left_alone(post, record):
            return self._result(post, note)
        post = await self._write_text(post, record)
        if self._request.mode is PublishMode.PUBLISH and post.status != LIVE:
            post = await self._set_live(post, record)
        return self._result(await self._read_back(post.id))

    async def _standing(self, record: PublicationRecord) -> Post | None:
        """The publication's post as it is recorded, else as its mark shows; None when there is none to go on with."""
        found = await self._at_slug()
        ours = [post for post in found if post.is_of(self._request.publication_id)]
        recorded = await self._recorded(record, found)
        post = recorded or _oldest_of(ours)
        if post is None or post.status != LIVE:
            self._refuse_foreign([one for one in found if one not in ours and one != recorded])
        if post is None:
            return None
        self._refuse_trashed(post)
        if recorded is None:
            kept = await record.keep(post.id, instead_of=record.external_id)
            post = post if kept == post.id else await self._get(kept)
        await self._sweep([stray for stray in ours if stray.id != post.id], record)
        return post

    async def _at_slug(self) -> list[Post]:
        """Every post that has our slug, in whatever state, as far as the user may see it."""
        slug = self._request.slug
        # Beside another draft of ours WordPress names one slug-2: what a publisher left behind may be there.
        slugs = (slug, *(f"{slug}-{number}" for number in range(2, RENAMED_MAX + 1)), f"{slug}{TRASHED_SUFFIX}")
        facts = await self._session.get(
            POSTS,
            context="edit",
            slug=",".join(slugs),
            status=f"any,{TRASH}",
            per_page=str(FOUND_MAX),
            orderby="id",
            order="asc",
        )
        return [_post_of(one) for one in facts] if isinstance(facts, list) else []

    async def _recorded(self, record: PublicationRecord, found: list[Post]) -> Post | None:
        """None when nothing is recorded, or when what was recorded has been deleted for good."""
        if record.external_id is None:
            return None
        try:
            post = next((one for one in found if one.id == record.external_id), None) or await self._get(
                record.external_id
            )
        except NotFoundError:
            return None
        if not post.is_of(self._request.publication_id) and (post.text.mark or post.slug != self._request.slug):
            raise RefusedError(
                f"post {post.id} is another post than the one that was published under that number (the site was "
                "restored or moved?): it was not touched; check the site, then retry"
            )
        return post

    def _refuse_foreign(self, others: list[Post]) -> None:
        """Somebody else's post is never overwritten, and ours would be renamed beside it."""
        standing = [post for post in others if post.status != TRASH and post.slug == self._request.slug]
        if standing:
            title = standing[0].text.title[:60]
            raise RefusedError(
                f"the slug {self._request.slug} is that of post {standing[0].id} “{title}”, which we did not write and "
                "don't touch: rename or remove it on the site, then retry"
            )

    def _refuse_trashed(self, post: Post) -> None:
        if post.status == TRASH:
            raise RefusedError(
                f"somebody moved post {post.id} ({self._request.slug}) to the site's trash: restore it there or "
                "delete it permanently, then retry"
            )

    async def _sweep(self, strays: list[Post], record: PublicationRecord) -> None:
        """Drafts that a publisher left behind when it died between making and recording one; to the trash."""
        for stray in strays:
            if stray.status == DRAFT and stray.text.is_as_marked:
                await record.check()
                await self._delete(stray)

    async def _create(self, record: PublicationRecord) -> Post | None:
        """A draft, then its id in the record: who records second deletes the draft it has just made. None when the
        slug was taken meanwhile, which WordPress says by giving another one."""
        before = record.external_id
        text = post_text(self._request, address=None, with_json_ld=False)
        await record.check()
        facts = await self._session.post(
            POSTS,
            title=text.title,
            excerpt=text.excerpt,
            content=text.content,
            slug=self._request.slug,
            status=DRAFT,
        )
        post = _post_of(facts)
        self._wrote = True
        if post.slug != self._request.slug:
            await self._delete(post, force="true")
            self._given_slug = post.slug
            return None
        kept = await record.keep(post.id, instead_of=before)
        if kept == post.id:
            return post
        await self._delete(post, force="true")
        self._wrote = False
        return await self._get(kept)

    async def _made_by_another(self, record: PublicationRecord) -> Post:
        """Another publisher of ours was faster, or the slug is taken by something that the user can't see."""
        post = await self._standing(record)
        if post is None:
            raise self._slug_is_taken(self._given_slug, "nothing was left behind")
        return post

    async def _delete(self, post: Post, **how: str) -> None:
        with suppress(NotFoundError):
            await self._session.delete(f"{POSTS}/{post.id}", **how)

    def _slug_is_taken(self, given: str, what_stands: str) -> RefusedError:
        return RefusedError(
            f"the slug {self._request.slug} is taken on the site by something that {self._user} can't see (WordPress "
            f"made it {given}); {what_stands}: free the slug, then retry"
        )

    def _left_alone(self, post: Post, record: PublicationRecord) -> str:
        """Why a post stays as it is though it is not as it should be; empty when we go on. Raises RefusedError where
        a person has to decide."""
        is_same = same_text(self._wanted(post), post.text)
        goes_live = self._request.mode is PublishMode.PUBLISH
        where = f"post {post.id} ({self._request.slug})"
        if not is_same and self._was_edited(post, record):
            if self._is_new(post) or (goes_live and post.status != LIVE):
                raise RefusedError(
                    f"{where} was edited on the site, and what was approved would overwrite that: publish it there, or "
                    "restore our revision or delete the post permanently and retry"
                )
            return f"{where} was edited on the site since it was published: left as it is"
        if goes_live and record.confirmed_mode is PublishMode.PUBLISH and post.status != LIVE:
            raise RefusedError(f"{where} was taken down on the site ({post.status}): publish it there, then retry")
        if post.status not in (LIVE, DRAFT) and (goes_live or not is_same):
            raise RefusedError(f"somebody set {where} to {post.status}: publish it there or set it to draft, retry")
        if post.status == LIVE and not goes_live and not is_same and self._is_new(post):
            raise RefusedError(
                f"{where} is live, and new content is to be a draft: set it to draft on the site, then retry"
            )
        return ""

    def _was_edited(self, post: Post, record: PublicationRecord) -> bool:
        """By somebody. Text that never stood as it was meant to may also be what the site made of ours."""
        return post.text.mark is None or (record.confirmed_mode is not None and not post.text.is_as_marked)

    def _is_new(self, post: Post) -> bool:
        return post.text.mark is None or post.text.mark.content_hash != self._request.content_hash

    def _wanted(self, post: Post) -> PostText:
        return post_text(self._request, address=post.address, with_json_ld=post.may_write_any_html)

    async def _write_text(self, post: Post, record: PublicationRecord) -> Post:
        """What WordPress stored is compared with what was sent: before anybody sees it, when the post is a draft."""
        wanted = self._wanted(post)
        if same_text(wanted, post.text):
            return post
        await record.check()
        # A draft is renamed by nobody yet: its slug is ours to say. A live post's slug may have been chosen anew.
        slug = {"slug": self._request.slug} if post.status == DRAFT and record.confirmed_mode is None else {}
        facts = await self._session.post(
            f"{POSTS}/{post.id}", title=wanted.title, excerpt=wanted.excerpt, content=wanted.content, **slug
        )
        self._wrote = True
        stored = _post_of(facts)
        difference = first_difference(wanted, stored.text)
        if difference:
            raise RefusedError(
                f"the site changed the text of post {post.id} while storing it ({difference}): find the plugin or "
                "rule that does, then retry"
            )
        return stored

    async def _set_live(self, post: Post, record: PublicationRecord) -> Post:
        """Nothing may hold the slug beside us, or WordPress would rename the post the moment it goes live."""
        is_first = record.confirmed_mode is None
        if is_first:
            await self._refuse_twins(post)
        await record.check()
        slug = {"slug": self._request.slug} if is_first else {}
        live = _post_of(await self._session.post(f"{POSTS}/{post.id}", status=LIVE, **slug))
        self._wrote = True
        if is_first and live.slug != self._request.slug:
            live = _post_of(await self._session.post(f"{POSTS}/{post.id}", **slug))
        if is_first and live.slug != self._request.slug:
            await self._session.post(f"{POSTS}/{post.id}", status=DRAFT)
            raise self._slug_is_taken(live.slug, f"post {post.id} is a draft again")
        if live.status != LIVE:
            raise RefusedError(
                f"the site set post {post.id} to {live.status} instead of publishing it: publish it there, or find "
                "the plugin that does, then retry"
            )
        return live

    async def _refuse_twins(self, post: Post) -> None:
        others = [one for one in await self._at_slug() if one.id != post.id]
        if any(one.is_of(self._request.publication_id) and one.status != TRASH for one in others):
            raise ProviderUnavailableError(f"another publisher of ours is at work on {self._request.slug}")
        self._refuse_foreign(others)

    async def _read_back(self, post_id: str) -> Post:
        """As the site has it now, by another request than the one that wrote it."""
        post = await self._get(post_id)
        difference = first_difference(self._wanted(post), post.text)
        if difference or (self._request.mode is PublishMode.PUBLISH and post.status != LIVE):
            raise ProviderUnavailableError(
                f"post {post_id} does not read back as it was written ({difference or post.status}); looking again"
            )
        return post

    def _result(self, post: Post, note: str | None = None) -> PublicationResult:
        state = PublicationState.PUBLISHED if self._wrote else PublicationState.UNCHANGED
        return PublicationResult(state=state, external_id=post.id, url=_web_address(post.link), reason=note)

    # What stands --------------------------------------------------------------------------------------------------

    async def relink(self, record: PublicationRecord) -> PublicationResult:
        try:
            post = None if record.external_id is None else await self._get(record.external_id)
        except NotFoundError:
            post = None
        if post is None or post.status == TRASH or not self._is_as_we_wrote(post):
            return PublicationResult(
                state=PublicationState.UNCHANGED, reason="its links were not drawn anew: it was changed on the site"
            )
        return self._result(await self._write_text(post, record))

    def _is_as_we_wrote(self, post: Post) -> bool:
        return post.is_of(self._request.publication_id) and post.text.is_as_marked

    async def unpublish(self, record: PublicationRecord) -> PublicationResult:
        found = await self._at_slug()
        recorded = await self._recorded(record, found)
        ours = {post.id: post for post in found if post.is_of(self._request.publication_id)}
        if recorded is not None:
            ours[recorded.id] = recorded
        shown = [post for post in ours.values() if post.status not in (DRAFT, TRASH)]
        for post in shown:
            await record.check()
            await self._session.post(f"{POSTS}/{post.id}", status=DRAFT)
        for post in shown:
            now = await self._get(post.id)
            if now.status != DRAFT:
                raise ProviderUnavailableError(f"post {post.id} reads back as {now.status}, not as a draft")
        note = None if shown else "nothing of it was public any more"
        return PublicationResult(
            state=PublicationState.UNPUBLISHED, external_id=recorded.id if recorded else None, reason=note
        )

    async def _get(self, post_id: str) -> Post:
        return _post_of(await self._session.get(f"{POSTS}/{post_id}", context="edit"))


def _oldest_of(posts: list[Post]) -> Post | None:
    """What readers may know already comes first, then the lowest number."""
    if not posts:
        return None
    return min(posts, key=lambda post: (post.status != LIVE, post.status == TRASH, int(post.id)))


def _post_of(facts: Any) -> Post:
    """Raises ProviderUnavailableError when a successful answer is not a post."""
    try:
        return Post(
            id=str(int(facts["id"])),
            status=facts["status"],
            slug=facts["slug"],
            link=facts["link"],
            text=PostText(
                title=facts["title"]["raw"], excerpt=facts["excerpt"]["raw"], content=facts["content"]["raw"]
            ),
            permalink_template=facts.get("permalink_template") or "",
            may_write_any_html=_has_action(facts.get("_links", {}), "unfiltered-html"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderUnavailableError(
            f"the site's answer is not a post as WordPress describes it ({error!r})"
        ) from error


def _has_action(links: Mapping[str, Any], action: str) -> bool:
    return any(name.endswith(f"action-{action}") for name in links)


def _web_address(link: str) -> str | None:
    return link if link.startswith(("https://", "http://")) else None
