"""A stand-in for WordPress: its REST surface for posts as far as we use it, on loopback, able to misbehave.

The same contract tests run against it and against a real WordPress (``test_contract.py``), which keeps it faithful:
slugs made unique, ``__trashed``, what is filtered for authors, who sees and may do what.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CAPABILITIES = {
    "administrator": {"edit_posts", "edit_others_posts", "edit_published_posts", "publish_posts", "unfiltered_html"},
    "editor": {"edit_posts", "edit_others_posts", "edit_published_posts", "publish_posts", "unfiltered_html"},
    "author": {"edit_posts", "edit_published_posts", "publish_posts"},
    "contributor": {"edit_posts"},
    "subscriber": set(),
}
UNNAMED = ("draft", "pending", "auto-draft")  # statuses in which a slug need not be unique
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """``times`` requests that match get this instead of their answer; with ``after`` they are carried out first."""

    kind: str  # lose, status, html, slow
    method: str = ""
    path: str = ""
    body: str = ""
    after: bool = True
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class StandInSite:
    passwords: dict[str, str] = field(default_factory=lambda: {role: f"{role} pass word" for role in CAPABILITIES})
    is_pretty: bool = True
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    changes_text: bool = False
    _posts: dict[int, dict[str, Any]] = field(default_factory=dict)
    _next_id: int = 1
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._misbehave], client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    # What tests look at -----------------------------------------------------------------------------------------

    def posts(self) -> list[dict[str, Any]]:
        return [
            {name: post[name] for name in ("id", "slug", "title", "status", "content")} for post in self._posts.values()
        ]

    def clear(self, permalinks: str = "/%postname%/") -> None:
        self._posts.clear()
        self.faults.clear()
        self.requests.clear()
        self.is_pretty, self.changes_text = bool(permalinks), False

    # Misbehaving ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        fault = await self._fault_for(request)
        if fault is None:
            return await handler(request)
        response = await handler(request) if fault.after else None
        match fault.kind:
            case "lose":
                if request.transport:
                    request.transport.abort()
                return response or web.Response()
            case "status":
                return web.Response(status=fault.status, text="<h1>trouble</h1>", headers=fault.headers)
            case "html":
                return web.Response(text="<title>Briefly unavailable</title>", content_type="text/html")
            case _:
                await asyncio.sleep(1.5)
                return response or await handler(request)

    async def _fault_for(self, request: web.Request) -> Fault | None:
        text = (await request.read()).decode()
        for fault in self.faults:
            path = request.query.get("rest_route", request.path)
            if fault.times > 0 and fault.method in ("", request.method) and fault.path in path and fault.body in text:
                fault.times -= 1
                return fault
        return None

    # REST -------------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.Response:
        route = request.query.get("rest_route")
        if route is None and self.is_pretty and request.path.startswith("/wp-json/"):
            route = request.path.removeprefix("/wp-json")
        if route is None:
            return web.Response(text="<html><title>Test site</title></html>", content_type="text/html")
        if route == "/":
            offered = {"application-passwords": {"endpoints": {}}}
            return web.json_response({"name": "Stand-in", "namespaces": ["wp/v2"], "authentication": offered})
        role = self._role(request)
        if route == "/wp/v2/users/me":
            return self._me(role)
        found = re.fullmatch(r"/wp/v2/posts(?:/(\d+))?", route)
        if found is None:
            return _error(404, "rest_no_route", "No route was found matching the URL and request method.")
        if found[1] is None:
            return await self._create(request, role) if request.method == "POST" else self._list(request, role)
        return await self._one(request, role, int(found[1]))

    def _role(self, request: web.Request) -> str:
        header = request.headers.get("Authorization", "")
        if not header:
            return ""
        # A password that is not right makes nobody of its user, as in Debian's WordPress.
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        known = self.passwords.get(user, "")
        return user if known and known.replace(" ", "") == password.replace(" ", "") else ""

    def _me(self, role: str) -> web.Response:
        if not role:
            return _error(401, "rest_not_logged_in", "You are not currently logged in.")
        return web.json_response({"id": 1, "capabilities": dict.fromkeys(CAPABILITIES[role], True)})

    def _list(self, request: web.Request, role: str) -> web.Response:
        if "edit_posts" not in CAPABILITIES.get(role, set()):
            inner = {"code": "rest_forbidden_status", "data": {"status": 403 if role else 401}}
            facts = {"status": 400, "details": {"status": inner}}
            said = {"code": "rest_invalid_param", "message": "Invalid parameter(s): status", "data": facts}
            return web.json_response(said, status=400)
        slugs, statuses = request.query["slug"].split(","), request.query["status"].split(",")
        shown = [
            post
            for post in self._posts.values()
            if post["slug"] in slugs
            and (post["status"] in statuses or ("any" in statuses and post["status"] not in ("trash", "auto-draft")))
            and self._may_edit(role, post)
        ]
        return web.json_response([self._shown(post, role) for post in shown])

    async def _create(self, request: web.Request, role: str) -> web.Response:
        if "edit_posts" not in CAPABILITIES.get(role, set()):
            return _error(403, "rest_cannot_create", "Sorry, you are not allowed to create posts as this user.")
        fields = await request.json()
        if fields.get("status", "draft") != "draft" and "publish_posts" not in CAPABILITIES[role]:
            return _error(403, "rest_cannot_publish", "Sorry, you are not allowed to create published posts.")
        post = {"id": self._next_id, "author": role, "status": "draft", "slug": ""}
        post |= {"title": "", "excerpt": "", "content": ""}
        self._next_id += 1
        self._posts[post["id"]] = post
        self._store(post, fields, role)
        return web.json_response(self._shown(post, role), status=201)

    async def _one(self, request: web.Request, role: str, post_id: int) -> web.Response:
        post = self._posts.get(post_id)
        if post is None:
            return _error(404, "rest_post_invalid_id", "Invalid post ID.")
        if not self._may_edit(role, post):
            code = "rest_forbidden_context" if request.method == "GET" else "rest_cannot_edit"
            return _error(403 if role else 401, code, "Sorry, you are not allowed to edit this post.")
        if request.method == "GET":
            return web.json_response(self._shown(post, role))
        if request.method == "DELETE":
            return self._delete(request, role, post)
        fields = await request.json()
        if fields.get("status") == "publish" and "publish_posts" not in CAPABILITIES[role]:
            return _error(403, "rest_cannot_publish", "Sorry, you are not allowed to publish posts in this post type.")
        self._store(post, fields, role)
        return web.json_response(self._shown(post, role))

    def _delete(self, request: web.Request, role: str, post: dict[str, Any]) -> web.Response:
        if request.query.get("force") == "true":
            del self._posts[post["id"]]
            return web.json_response({"deleted": True, "previous": self._shown(post, role)})
        if post["status"] == "trash":
            return _error(410, "rest_already_trashed", "The post has already been deleted.")
        post |= {"status": "trash", "slug": f"{post['slug']}__trashed"}
        return web.json_response(self._shown(post, role))

    def _store(self, post: dict[str, Any], fields: dict[str, Any], role: str) -> None:
        filters = "unfiltered_html" not in CAPABILITIES[role]
        for name in ("title", "excerpt", "content"):
            if name in fields:
                post[name] = _filtered(fields[name]) if filters else fields[name]
        if self.changes_text and "content" in fields:
            post["content"] = post["content"].replace(" rel=", ' target="_blank" rel=')
        post["slug"] = fields.get("slug", post["slug"])
        post["status"] = fields.get("status", post["status"])
        if "slug" in fields or post["status"] not in UNNAMED:
            post["slug"] = self._unique(post)

    def _unique(self, post: dict[str, Any]) -> str:
        taken = {other["slug"] for other in self._posts.values() if other is not post}
        slug, number = post["slug"], 1
        while slug in taken:
            number += 1
            slug = f"{post['slug']}-{number}"
        return slug

    def _may_edit(self, role: str, post: dict[str, Any]) -> bool:
        able = CAPABILITIES.get(role, set())
        if post["author"] != role and "edit_others_posts" not in able:
            return False
        return "edit_posts" in able and (post["status"] != "publish" or "edit_published_posts" in able)

    def _shown(self, post: dict[str, Any], role: str) -> dict[str, Any]:
        plain = f"{self.url}/?p={post['id']}"
        is_named = self.is_pretty and post["status"] not in (*UNNAMED, "trash")
        actions = {"wp:action-unfiltered-html": []} if "unfiltered_html" in CAPABILITIES[role] else {}
        return {
            "id": post["id"],
            "status": post["status"],
            "slug": post["slug"],
            "link": f"{self.url}/{post['slug']}/" if is_named else plain,
            "permalink_template": f"{self.url}/%postname%/" if self.is_pretty else plain,
            **{name: {"raw": post[name], "rendered": post[name]} for name in ("title", "excerpt", "content")},
            "_links": actions,
        }


def _filtered(html: str) -> str:
    """What WordPress takes out for those who may not write any HTML."""
    html = re.sub(r"</?script[^>]*>", "", html)
    html = re.sub(r"<!--(.*?)-->", lambda m: f"<!--{re.sub('--+', '-', m[1])}-->", html, flags=re.DOTALL)
    return re.sub(r"&(?!#?\w+;)", "&amp;", html)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": {"status": status}}, status=status)
