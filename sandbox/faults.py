"""Misbehaviour on command: seeded, bounded, and the same for the same request each time.

``POST /faults`` takes ``{"seed": 7, "rules": [{...}, ...]}`` and replaces what was there; ``GET /faults`` shows the
rules with how often each matched and fired; ``DELETE /faults`` ends it. Fields of a rule, all but ``kind`` optional:

======================  ==================================================================================
``kind``                see below
``probability``         0 to 1 (default 1): drawn from the seed, the rule's place and ``X-Client-Request-Id`` (the
                        body's hash when there is none), so a request meets the same fate whatever the order
``nth``                 fires for the nth matching request only (1 is the first)
``count``               fires at most so many times (default 1000)
``path``                part of the path, such as ``/v1/embeddings``, ``/v1/generation``, ``/sites/payloom``
``model``, ``schema``   exact name of the model, of the JSON schema
``seconds``             how long ``slow`` waits (default 1) and ``hang`` hangs (default 60); the Retry-After
``status``              the HTTP status of ``http_status`` (default 500)
``where``               for the drops and hangs: ``before_headers``, ``after_headers`` or ``mid_body``
``answer_model``        the name that ``other_model`` answers with
``text``, ``cites``     of ``added_claim``: the sentence that is added, and web addresses that are cited for it
``code``, ``charged``   of ``internal_error``: the internal status code (default 50000), and whether it is billed
======================  ==================================================================================

A request waits for every ``slow`` rule that fires and then suffers the first other rule that fires.

Under ``/v1``, nothing charged: ``http_status`` (429 with Retry-After, 401, 402, 403, 404, 5xx), ``hang`` (holds the
connection, then drops it), ``drop_before_billing``, ``ok_with_error_body`` (HTTP 200 whose JSON body is an error;
with ``where: mid_body`` an error event in the stream). Charged and then: ``hang`` with ``where`` after_headers or
mid_body; ``bill_then_drop`` (default mid_body); ``empty_content``; ``fenced_json``; ``truncated_json`` (half of it,
finish_reason "length"); ``invalid_json``; ``schema_violation`` (an object without its first key);
``other_model``; ``usage_missing``; ``cost_missing``; ``cost_unlike`` (three quarters of the computed cost, in the
answer and on the bill); ``overbill`` (more than any hold for such a request, in the answer and on the bill);
``added_claim`` (an article's section or repair says ``text`` beside what it says: an invented statistic unless told
otherwise, as the work of a search model that cites the pages ``cites``).

Under ``/v3`` (keyword data) all of these that have to do with HTTP, cost or JSON, and ``internal_error``: HTTP 200
whose task failed with ``code``; with ``where: before_headers`` the whole envelope did.

Under ``/sites``: ``slow``, ``hang``, ``http_status``, ``redirect_loop``, ``big_body`` (32 MiB of HTML),
``wrong_encoding`` (says UTF-8, sends UTF-16).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

INVENTED_STATISTIC = "Studies show that 73.6% of such teams save 41 hours a month this way."


class FaultKind(StrEnum):
    SLOW = "slow"
    HANG = "hang"
    HTTP_STATUS = "http_status"
    OK_WITH_ERROR_BODY = "ok_with_error_body"
    EMPTY_CONTENT = "empty_content"
    FENCED_JSON = "fenced_json"
    TRUNCATED_JSON = "truncated_json"
    INVALID_JSON = "invalid_json"
    SCHEMA_VIOLATION = "schema_violation"
    OTHER_MODEL = "other_model"
    USAGE_MISSING = "usage_missing"
    COST_MISSING = "cost_missing"
    COST_UNLIKE = "cost_unlike"
    OVERBILL = "overbill"
    BILL_THEN_DROP = "bill_then_drop"
    DROP_BEFORE_BILLING = "drop_before_billing"
    REDIRECT_LOOP = "redirect_loop"
    BIG_BODY = "big_body"
    WRONG_ENCODING = "wrong_encoding"
    INTERNAL_ERROR = "internal_error"
    ADDED_CLAIM = "added_claim"


SITE_ONLY = frozenset({FaultKind.REDIRECT_LOOP, FaultKind.BIG_BODY, FaultKind.WRONG_ENCODING})
SITE_FAULTS = SITE_ONLY | {FaultKind.SLOW, FaultKind.HANG, FaultKind.HTTP_STATUS}


class FaultPoint(StrEnum):
    BEFORE_HEADERS = "before_headers"
    AFTER_HEADERS = "after_headers"
    MID_BODY = "mid_body"


class FaultRule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: FaultKind
    probability: float = Field(default=1.0, ge=0, le=1)
    nth: int | None = Field(default=None, ge=1)
    count: int = Field(default=1000, ge=1, le=1_000_000)
    path: str | None = None
    model: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    seconds: float | None = Field(default=None, ge=0, le=3600)
    status: int = Field(default=500, ge=400, le=599)
    where: FaultPoint | None = None
    answer_model: str = "sandbox/other-model"
    text: str = INVENTED_STATISTIC
    cites: tuple[str, ...] = ()
    code: int | None = Field(default=None, ge=20000, le=59999)
    charged: bool | None = None


class FaultPlan(BaseModel):
    """The body of ``POST /faults``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    rules: tuple[FaultRule, ...] = Field(default=(), max_length=100)


@dataclass(frozen=True)
class FaultTarget:
    """What a rule can tell requests apart by; ``key`` stands for the request in the draw."""

    path: str
    key: str
    model: str | None = None
    schema: str | None = None


@dataclass
class _Rule:
    rule: FaultRule
    matched: int = 0
    fired: int = 0


@dataclass
class Faults:
    """The rules in force and how often each was met; one request is decided upon at a time."""

    plan: FaultPlan = field(default_factory=FaultPlan)

    def __post_init__(self) -> None:
        self._rules = [_Rule(rule) for rule in self.plan.rules]

    def decide(self, target: FaultTarget) -> tuple[float, FaultRule | None]:
        """Seconds to wait first, and the one other fault the request suffers, if any."""
        wait, fault = 0.0, None
        for place, entry in enumerate(self._rules):
            if not _matches(entry.rule, target):
                continue
            entry.matched += 1
            is_slow = entry.rule.kind is FaultKind.SLOW
            if (fault is not None and not is_slow) or not self._fires(place, entry, target.key):
                continue
            entry.fired += 1
            wait += _seconds(entry.rule, 1.0) if is_slow else 0.0
            fault = fault if is_slow else entry.rule
        return wait, fault

    def _fires(self, place: int, entry: _Rule, key: str) -> bool:
        rule = entry.rule
        if rule.nth is not None and entry.matched != rule.nth:
            return False
        return entry.fired < rule.count and _draw(self.plan.seed, place, key) < rule.probability

    def facts(self) -> dict[str, Any]:
        rules: Sequence[dict[str, Any]] = [
            {
                **entry.rule.model_dump(mode="json", by_alias=True, exclude_none=True),
                "matched": entry.matched,
                "fired": entry.fired,
            }
            for entry in self._rules
        ]
        return {"seed": self.plan.seed, "rules": rules}


def _matches(rule: FaultRule, target: FaultTarget) -> bool:
    is_site = target.path.startswith("/sites/")
    if (is_site and rule.kind not in SITE_FAULTS) or (not is_site and rule.kind in SITE_ONLY):
        return False
    if rule.path is None and is_site and rule.kind not in SITE_ONLY:
        return False  # a rule for the providers that names no path leaves the web sites alone
    return (
        (rule.path is None or rule.path in target.path)
        and (rule.model is None or rule.model == target.model)
        and (rule.schema_name is None or rule.schema_name == target.schema)
    )


def _seconds(rule: FaultRule, default: float) -> float:
    return default if rule.seconds is None else rule.seconds


def _draw(seed: int, place: int, key: str) -> float:
    digest = hashlib.sha256(f"{seed}/{place}/{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
