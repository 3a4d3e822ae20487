"""The whole pipeline to WordPress, and what was published taken back again: one post per article, whatever happens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from commands import publishing
from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import Terminal
from domain.errors import BadInputError
from domain.settings import ActivityTimeouts
from domain.states import State
from tests.wordpress.conftest import real_site  # noqa: F401 -- a fixture
from tests.wordpress.publishing import AnySite
from tests.wordpress.real_site import RealSite
from tests.wordpress.stand_in import Fault, StandInSite
from tests.workflows.conftest import FAST, Pipeline, Run, assert_books_balance, running_workers

WORDPRESS = {"target": "wordpress", "approval": "auto"}
QUICK: dict[str, Any] = {"competitors": ["https://ledgerpilot.example"], "articles": {"max": 2, "min": 1, "words": 300}}
ONE = {"articles": {"max": 1, "min": 1, "words": 300}}
PASSWORD = "abcd EFGH ijkl MNOP qrst UVWX"


@pytest_asyncio.fixture
async def site() -> AsyncIterator[StandInSite]:
    site = StandInSite()
    site.passwords["editor"] = PASSWORD
    await site.start()
    yield site
    await site.stop()


def with_site(pipeline: Pipeline, site: AnySite, **changes: Any) -> Pipeline:
    facts = {
        "wordpress_url": site.url,
        "wordpress_user": "editor",
        "wordpress_application_password": SecretStr(PASSWORD),
        "postgres_operator_dsn": SecretStr(pipeline.database.operator_dsn),
    }
    pipeline.settings = pipeline.settings.model_copy(update={**facts, **changes})
    return pipeline


@asynccontextmanager
async def session(pipeline: Pipeline, actor: str = "anna") -> AsyncIterator[Session]:
    async with Session(pipeline.settings, Terminal(as_json=True), actor) as open_session:
        yield open_session


async def change(run: Run, kind: str, *which: str, reason: str = "a reason", actor: str = "anna") -> ExitCode:
    command = publishing.unpublish if kind == "unpublish" else publishing.republish
    async with session(run.pipeline, actor) as open_session:
        return await command(open_session, str(run.ref.workflow_id), which, reason)


async def publications(run: Run) -> list[dict[str, Any]]:
    query = (
        "SELECT slug, state, published_url, reason, external_id FROM publications WHERE workflow_id = $1 ORDER BY slug"
    )
    return [dict(row) for row in await run.rows(query)]


def live(site: AnySite) -> list[str]:
    return sorted(post["slug"] for post in site.posts() if post["status"] == "publish")


async def assert_each_is_live_once(run: Run, site: AnySite) -> Sequence[dict[str, Any]]:
    rows = await publications(run)
    assert {row["state"] for row in rows} <= {"PUBLISHED", "UNCHANGED"}
    assert live(site) == [row["slug"] for row in rows]
    assert [str(post["id"]) for post in sorted(site.posts(), key=lambda post: post["slug"])] == [
        row["external_id"] for row in rows
    ]
    return rows


async def test_a_brief_ends_in_live_linked_posts(idle_pipeline: Pipeline, site: StandInSite) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        rows = await assert_each_is_live_once(run, site)
    addresses = {row["published_url"] for row in rows}
    assert len(addresses) == 2
    for post in site.posts():
        related = set(re.findall(r'href="([^"]+)"', post["content"].partition("Related articles")[2]))
        assert related == addresses - {f"{site.url}/{post['slug']}/"}
        assert "Demo text" in post["content"]
    await assert_books_balance(run)


async def test_a_real_wordpress_gets_live_linked_posts_and_gives_them_back(
    idle_pipeline: Pipeline,
    real_site: RealSite,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    real_site.clear()
    password = SecretStr(real_site.passwords["author"])
    facts = {"wordpress_user": "author", "wordpress_application_password": password}
    async with running_workers(with_site(idle_pipeline, real_site, **facts)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        rows = await assert_each_is_live_once(run, real_site)
        async with httpx2.AsyncClient() as reader:
            pages = {row["slug"]: await reader.get(row["published_url"]) for row in rows}
            for slug, page in pages.items():
                assert page.status_code == 200
                assert all(row["published_url"] in page.text for row in rows if row["slug"] != slug)
            assert await change(run, "unpublish") is ExitCode.DONE
            assert {(await reader.get(row["published_url"])).status_code for row in rows} == {404}
        assert live(real_site) == []
        assert len(real_site.posts()) == len(rows)


async def test_lost_answers_outages_and_odd_pages_leave_one_post_each(
    idle_pipeline: Pipeline, site: StandInSite
) -> None:
    site.faults += [
        Fault("lose", "POST", body='"draft"'),
        Fault("status", "GET", "/wp/v2/posts", status=503),
        Fault("lose", "POST", body='"publish"'),
        Fault("status", "POST", body='"content"', status=500, after=True),
        Fault("html", "GET", "/wp/v2/posts"),
        Fault("status", "GET", "/wp/v2/posts", status=429, headers={"Retry-After": "0"}),
        Fault("lose", "POST", body='"publish"', after=False),
    ]
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        await assert_each_is_live_once(run, site)
    assert not [fault for fault in site.faults if fault.times]


async def test_death_between_the_post_and_the_commit_leaves_one_post_each(
    idle_pipeline: Pipeline, site: StandInSite
) -> None:
    """The transaction that records a post's id fails, twice per article: the post is there and nobody knows."""
    await idle_pipeline.database.admin.execute("""
        CREATE SEQUENCE deaths;
        GRANT USAGE ON SEQUENCE deaths TO PUBLIC;
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.external_id IS DISTINCT FROM OLD.external_id AND nextval('deaths') % 3 <> 0 THEN
                RAISE EXCEPTION 'died' USING ERRCODE = '57P01';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER die BEFORE UPDATE ON publications FOR EACH ROW EXECUTE FUNCTION die();
    """)
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        await assert_each_is_live_once(run, site)
    assert await idle_pipeline.database.admin.fetchval("SELECT last_value FROM deaths") >= 6


async def test_without_a_site_the_step_fails_with_one_line_and_retry_goes_on(
    idle_pipeline: Pipeline, site: StandInSite
) -> None:
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        progress = await run.reaches(State.PUBLISH_FAILED)
        assert progress.failure
        assert "no WordPress site is set up for harborline.example" in progress.failure.message
    from domain.decisions import Retry

    async with running_workers(with_site(idle_pipeline, site)):
        await run.update("retry", Retry(**await run.decision()))
        await run.reaches(State.COMPLETED)
        await assert_each_is_live_once(run, site)


async def test_a_refused_password_is_in_no_history_and_no_row(idle_pipeline: Pipeline, site: StandInSite) -> None:
    site.passwords["editor"] = "another one"
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        progress = await run.reaches(State.PUBLISH_FAILED)
    assert progress.failure
    assert "refused the credentials of editor" in progress.failure.message
    history = (await run.handle.fetch_history()).to_json()
    rows = json.dumps([dict(row) for row in await run.rows(
        "SELECT to_jsonb(p) AS row FROM publications AS p WHERE workflow_id = $1 UNION ALL "
        "SELECT to_jsonb(w) FROM intent_workflows AS w WHERE id = $1"
    )], default=str)  # fmt: skip
    for spelling in (PASSWORD, PASSWORD.replace(" ", "")):
        assert spelling not in history
        assert spelling not in rows


async def test_an_outage_has_a_bound(idle_pipeline: Pipeline, site: StandInSite) -> None:
    site.faults.append(Fault("status", status=503, times=10_000))
    timeouts = ActivityTimeouts(**{**FAST.model_dump(), "publish_patience_seconds": 0.4})
    async with running_workers(with_site(idle_pipeline, site, timeouts=timeouts)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK | ONE)
        progress = await run.reaches(State.PUBLISH_FAILED)
    assert progress.failure
    assert "retry when the site is back" in progress.failure.message


# Taking back -----------------------------------------------------------------------------------------------------


async def test_unpublish_and_republish_posts(
    idle_pipeline: Pipeline, site: StandInSite, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        first, second = [row["slug"] for row in await publications(run)]
        assert await change(run, "unpublish", first, reason="wrong price") is ExitCode.DONE
        assert live(site) == [second]
        (kept,) = [post for post in site.posts() if post["status"] == "publish"]
        assert "Related articles" not in kept["content"]  # its link would lead nowhere
        site.faults += [Fault("lose", "POST", body='"draft"'), Fault("status", "GET", status=502, after=False)]
        assert await change(run, "unpublish") is ExitCode.DONE
        assert live(site) == []
        assert {row["state"] for row in await publications(run)} == {"UNPUBLISHED"}
        assert {row["published_url"] for row in await publications(run)} == {None}
        assert await change(run, "republish", reason="mended") is ExitCode.DONE
        await assert_each_is_live_once(run, site)
        assert all("Related articles" in post["content"] for post in site.posts())
        assert (await run.progress()).state is State.COMPLETED
    assert capsys.readouterr().out.count('\n  "is_done": true') == 3
    events = await run.rows(
        "SELECT slug, event, actor, publication_events.reason FROM publication_events JOIN publications "
        "USING (publication_id) WHERE publications.workflow_id = $1 ORDER BY created_at"
    )
    of_first = [(row["event"], row["actor"]) for row in events if row["slug"] == first]
    assert of_first == [
        (event, "anna") for event in ("UNPUBLISH_ASKED", "UNPUBLISHED", "REPUBLISH_ASKED", "REPUBLISHED")
    ]
    assert events[0]["reason"] == "wrong price"


async def test_two_who_unpublish_at_once_are_one(idle_pipeline: Pipeline, site: StandInSite) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
        codes = await asyncio.gather(*[change(run, "unpublish", actor=name) for name in ("anna", "bert", "carl")])
        assert set(codes) == {ExitCode.DONE}
        assert live(site) == []
    asked = await run.rows("SELECT 1 FROM publication_events WHERE workflow_id = $1 AND event = 'UNPUBLISH_ASKED'")
    assert len(asked) == 2  # one per article


async def test_what_is_asked_for_without_a_worker_is_done_when_one_comes(
    idle_pipeline: Pipeline, site: StandInSite
) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK)
        await run.reaches(State.COMPLETED)
    asking = asyncio.create_task(change(run, "unpublish"))
    await asyncio.sleep(0.3)  # nobody is there to do it
    async with running_workers(idle_pipeline):
        assert await asking is ExitCode.DONE
    assert live(site) == []


async def test_what_unpublish_refuses(idle_pipeline: Pipeline, site: StandInSite) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish={"target": "wordpress", "approval": "person"}, **QUICK)
        await run.reaches(State.PUBLISH_PENDING)
        with pytest.raises(CommandError, match="has ended") as caught:
            await change(run, "unpublish")
        assert caught.value.exit_code is ExitCode.CONFLICT
        await run.handle.cancel()
        await run.reaches(State.CANCELLED)
        with pytest.raises(BadInputError, match="was ever published"):
            await change(run, "unpublish")
        with pytest.raises(BadInputError, match="--reason"):
            await change(run, "unpublish", reason="  ")


async def test_unpublish_of_what_somebody_replaced_fails_and_may_be_repeated(
    idle_pipeline: Pipeline, site: StandInSite
) -> None:
    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(publish=WORDPRESS, **QUICK | ONE)
        await run.reaches(State.COMPLETED)
        (post,) = site._posts.values()
        ours = dict(post)
        post |= {"content": "another text", "slug": "another-page"}
        assert await change(run, "unpublish") is ExitCode.RUN_FAILED
        assert (await publications(run))[0]["state"] == "UNPUBLISHING"
        assert live(site) == ["another-page"]
        post |= ours
        assert await change(run, "unpublish") is ExitCode.DONE
        assert live(site) == []


async def test_unpublish_and_republish_files(idle_pipeline: Pipeline, site: StandInSite) -> None:
    def pages() -> list[Path]:
        return sorted(path for path in idle_pipeline.output_dir.rglob("*.html") if path.name != "index.html")

    async with running_workers(with_site(idle_pipeline, site)):
        run = await idle_pipeline.begin(**QUICK)
        await run.reaches(State.COMPLETED)
        before = {path: path.read_text() for path in idle_pipeline.output_dir.rglob("*") if path.is_file()}
        first, second = pages()
        assert await change(run, "unpublish", first.stem) is ExitCode.DONE
        assert pages() == [second]
        folder = first.parent
        for name in ("index.html", "sitemap.xml", "manifest.json", second.name):
            assert not re.search(rf"(?<![\w-]){first.stem}(?![\w-])", (folder / name).read_text()), name
        assert await change(run, "unpublish") is ExitCode.DONE
        assert await change(run, "unpublish") is ExitCode.DONE
        assert pages() == []
        assert await change(run, "republish") is ExitCode.DONE
        after = {path: path.read_text() for path in idle_pipeline.output_dir.rglob("*") if path.is_file()}
    assert after == before
