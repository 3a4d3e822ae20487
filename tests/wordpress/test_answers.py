"""What every kind of bad answer means, and that credentials go nowhere but to the site that was named."""

import base64
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from domain.errors import ProviderUnavailableError, RateLimitedError
from domain.publishing import PublicationState
from domain.wordpress import WordPressSite, WordPressSites
from providers.wordpress import WordPressPublisher
from providers.wordpress_rest import RefusedError
from tests.wordpress.publishing import Memory, publisher, request
from tests.wordpress.stand_in import Fault, StandInSite

PASSWORD = "abcd efgh ijkl mnop qrst uvwx"
API = {"namespaces": ["wp/v2"], "authentication": {"application-passwords": {"endpoints": {}}}}
Answering = Callable[[httpx2.Request], httpx2.Response]


def against(answer: Answering, url: str = "https://blog.acme.example") -> WordPressPublisher:
    site = WordPressSite(url=url, user="editor", application_password=SecretStr(PASSWORD))
    return WordPressPublisher(WordPressSites(default=site), transport=httpx2.MockTransport(answer))


def after_discovery(**facts: Any) -> Answering:
    """The API is there, and then every request gets this."""

    def answer(sent: httpx2.Request) -> httpx2.Response:
        if sent.url.path == "/wp-json/":
            return httpx2.Response(200, json=API)
        return httpx2.Response(**facts)

    return answer


TRANSIENT: list[dict[str, Any]] = [
    {"status_code": 500, "text": "<p>There has been a critical error on this website.</p>"},
    {"status_code": 502},
    {"status_code": 503, "text": "<title>Maintenance</title>Briefly unavailable"},
    {"status_code": 408},
    {"status_code": 200, "text": "<html><title>Just a moment…</title></html>"},
    {"status_code": 200, "text": ""},
    {"status_code": 200, "text": '<br><b>Warning</b>: x in y.php{"id": 1}'},
    {"status_code": 500, "json": {"code": "db_insert_error", "message": "Could not insert post into the database."}},
]


@pytest.mark.parametrize("facts", TRANSIENT, ids=lambda facts: f"{facts['status_code']} {str(facts)[20:45]}")
async def test_what_may_pass_is_tried_again(facts: dict[str, Any]) -> None:
    with pytest.raises(ProviderUnavailableError) as caught:
        await against(after_discovery(**facts)).publish(request(), Memory())
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("99999", 300.0), ("soon", None), ("", None)])
async def test_a_rate_limit_carries_its_delay(header: str, seconds: float | None) -> None:
    answer = after_discovery(status_code=429, headers={"Retry-After": header})
    with pytest.raises(RateLimitedError) as caught:
        await against(answer).publish(request(), Memory())
    assert caught.value.retry_after_seconds == seconds


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"status_code": 401, "json": {"code": "incorrect_password", "message": "<b>wrong</b>"}},
        "refused the credentials",
    ),
    ({"status_code": 401, "text": "<h1>401</h1>"}, "Authorization header"),
    ({"status_code": 403, "json": {"code": "rest_forbidden_context", "message": "no"}}, "the role Author or Editor"),
    ({"status_code": 403, "text": "<title>Blocked by Wordfence</title>"}, "firewall"),
    ({"status_code": 413, "text": "too large"}, "413"),
    ({"status_code": 400, "json": {"code": "rest_invalid_param", "message": "bad"}}, "rest_invalid_param"),
    ({"status_code": 404, "json": {"code": "rest_no_route", "message": "none"}}, "rest_no_route"),
    ({"status_code": 301, "headers": {"Location": "https://www.acme.example/wp-json/"}}, "https://www.acme.example"),
    ({"status_code": 200, "text": "x" * 6_000_000}, "not an API"),
]


@pytest.mark.parametrize(("facts", "said"), REFUSED, ids=[said for _, said in REFUSED])
async def test_what_a_person_has_to_mend_is_failed_with_what_to_do(facts: dict[str, Any], said: str) -> None:
    result = await against(after_discovery(**facts)).publish(request(), Memory())
    assert result.state is PublicationState.FAILED
    assert said in (result.reason or "")
    assert "\n" not in (result.reason or "")


async def test_a_message_that_repeats_the_password_is_told_without_it() -> None:
    body = {"code": "rest_x", "message": f"you sent {PASSWORD} and {PASSWORD.replace(' ', '')}"}
    result = await against(after_discovery(status_code=400, json=body)).publish(request(), Memory())
    assert "[redacted]" in (result.reason or "")
    assert PASSWORD.replace(" ", "") not in (result.reason or "").replace(" ", "")


@pytest.mark.parametrize("location", ["https://blog.acme.example/wp-json/", "https://evil.example/wp-json/", ""])
async def test_credentials_follow_no_redirect(location: str) -> None:
    sent: list[httpx2.Request] = []

    def answer(one: httpx2.Request) -> httpx2.Response:
        sent.append(one)
        return httpx2.Response(301, headers={"Location": location})

    result = await against(answer, "http://blog.acme.example").publish(request(), Memory())
    assert (result.state, "redirects" in (result.reason or "")) == (PublicationState.FAILED, True)
    assert [one.headers.get("authorization") for one in sent] == [None]


async def test_no_credentials_before_the_site_takes_them() -> None:
    sent: list[httpx2.Request] = []

    def answer(one: httpx2.Request) -> httpx2.Response:
        sent.append(one)
        return httpx2.Response(200, json={"namespaces": ["wp/v2"], "authentication": []})

    result = await against(answer, "http://blog.acme.example").publish(request(), Memory())
    assert "takes no application passwords" in (result.reason or "")
    assert "https" in (result.reason or "")
    assert all("authorization" not in one.headers for one in sent)


@pytest.mark.parametrize(("url", "goes_on"), [("https://blog.acme.example", True), ("http://blog.acme.example", False)])
async def test_an_api_for_those_who_are_logged_in_gets_them_over_https_only(url: str, goes_on: bool) -> None:
    with_credentials: list[httpx2.Request] = []

    def answer(one: httpx2.Request) -> httpx2.Response:
        if "authorization" in one.headers:
            with_credentials.append(one)
        return httpx2.Response(401, json={"code": "rest_login_required", "message": "log in"})

    await against(answer, url).publish(request(), Memory())
    assert bool(with_credentials) is goes_on


async def test_what_is_no_wordpress_is_told() -> None:
    result = await against(lambda _: httpx2.Response(200, text="<p>hello</p>")).publish(request(), Memory())
    assert "does not answer as a WordPress REST API" in (result.reason or "")


async def test_a_byte_order_mark_is_forgiven(stand_in: StandInSite) -> None:
    def answer(sent: httpx2.Request) -> httpx2.Response:
        if sent.url.path == "/wp-json/":
            return httpx2.Response(200, content=b"\xef\xbb\xbf" + httpx2.Response(200, json=API).content)
        return httpx2.Response(401, json={"code": "x", "message": "y"})

    assert "credentials" in ((await against(answer).publish(request(), Memory())).reason or "")


async def test_a_slow_site_is_an_outage(stand_in: StandInSite) -> None:
    stand_in.faults.append(Fault("slow", "POST"))
    word_press = publisher(stand_in)
    word_press._timeout_seconds = 0.3
    with pytest.raises(ProviderUnavailableError, match="in time"):
        await word_press.publish(request(), Memory())
    word_press._timeout_seconds = 20
    assert (await word_press.publish(request(), memory := Memory())).state is PublicationState.PUBLISHED
    (post,) = stand_in.posts()
    assert (str(post["id"]), post["status"]) == (memory.external_id, "publish")


async def test_a_site_that_is_not_there_is_an_outage() -> None:
    site = WordPressSite(url="http://127.0.0.1:9", user="editor", application_password=SecretStr(PASSWORD))
    word_press = WordPressPublisher(WordPressSites(default=site))
    with pytest.raises(ProviderUnavailableError, match="can't be reached"):
        await word_press.publish(request(), Memory())
    await word_press.close()


async def test_each_organization_has_its_own_site(stand_in: StandInSite) -> None:
    seen: list[tuple[str, str]] = []

    def answer(sent: httpx2.Request) -> httpx2.Response:
        if "authorization" in sent.headers:
            seen.append((sent.url.host, base64.b64decode(sent.headers["authorization"][6:]).decode()))
        return after_discovery(status_code=401)(sent)

    def site(name: str) -> WordPressSite:
        return WordPressSite(url=f"https://{name}.example", user=name, application_password=SecretStr(f"of {name}"))

    sites = WordPressSites(by_domain={"harborline.example": site("own")}, default=site("shared"))
    word_press = WordPressPublisher(sites, transport=httpx2.MockTransport(answer))
    await word_press.publish(request(), Memory())
    await word_press.publish(request(domain="other.example"), Memory())
    assert seen == [("own.example", "own:of own"), ("shared.example", "shared:of shared")]
    nobody = WordPressPublisher(WordPressSites(by_domain={"harborline.example": site("own")}))
    result = await nobody.publish(request(domain="other.example"), Memory())
    assert "no WordPress site is set up for other.example" in (result.reason or "")
    await nobody.close()


async def test_text_that_the_site_changes_is_not_put_up(stand_in: StandInSite) -> None:
    stand_in.changes_text = True
    result = await publisher(stand_in).publish(request(), Memory())
    assert (result.state, "changed the text" in (result.reason or "")) == (PublicationState.FAILED, True)
    assert [post["status"] for post in stand_in.posts()] == ["draft"]


async def test_doctor_learns_who_may_do_what(stand_in: StandInSite) -> None:
    sites = {role: publisher(stand_in, role) for role in ("editor", "author", "contributor")}
    configured = {role: one._sites.default for role, one in sites.items()}
    assert configured["editor"] and configured["author"] and configured["contributor"]  # noqa: PT018
    assert "with structured data" in await sites["editor"].check_site(configured["editor"])
    assert "without" in await sites["author"].check_site(configured["author"])
    with pytest.raises(RefusedError, match="may not publish"):
        await sites["contributor"].check_site(configured["contributor"])
