"""The competitor step with a keyword data provider: what it adds, what it costs, and what its failing leaves behind."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from domain.decisions import ReviewSeeds
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import KeywordDataSettings, StepSettings
from domain.states import State
from tests.workflows.conftest import Pipeline, Run, assert_books_balance

SITE, DIFFICULTY = "dataforseo/keywords_for_site", "dataforseo/bulk_keyword_difficulty"
KEYWORD_PATH = "/v3/dataforseo_labs"
ATTEMPTS = "SELECT * FROM spend_attempts WHERE workflow_id = $1 AND endpoint = 'keyword_data' ORDER BY slot, claim, ask"
KEYWORDS = "SELECT * FROM keywords WHERE workflow_id = $1 ORDER BY position"


def steps_of(pipeline: Pipeline, **changes: Any) -> StepSettings:
    steps = pipeline.settings.step_settings(auto_approve_seeds=False)
    data = KeywordDataSettings(is_enabled=True, **{"rows_per_site_max": 40, **changes})
    return steps.model_copy(update={"competitor": steps.competitor.model_copy(update={"keyword_data": data})})


async def reviewed(pipeline: Pipeline, *, changes: Mapping[str, Any] | None = None, **brief: Any) -> Run:
    """A run whose seeds wait for a person."""
    run = await pipeline.begin(steps=steps_of(pipeline, **(changes or {})), auto_approve=False, **brief)
    await run.reaches(State.SEED_REVIEW_PENDING)
    return run


async def verdict_of(run: Run) -> dict[str, Any]:
    [row] = await run.rows(
        "SELECT verdict FROM step_outputs WHERE workflow_id = $1 AND step = 'competitor' ORDER BY claim DESC LIMIT 1"
    )
    return dict(row["verdict"])


async def test_provider_keywords_join_the_crawled_ones_with_every_source(pipeline: Pipeline) -> None:
    endpoints = ("keywords_for_site", "keyword_suggestions", "related_keywords", "bulk_keyword_difficulty")
    run = await reviewed(pipeline, changes={"endpoints": endpoints, "phrases_max": 1})

    rows = await run.rows(KEYWORDS)
    by_provider = [row for row in rows if any("endpoint" in source for source in row["sources"])]
    by_both = [row for row in by_provider if any("url" in source for source in row["sources"])]
    added = [row for row in by_provider if row not in by_both]
    assert by_both
    assert added
    assert len({row["text"] for row in rows}) == len(rows)
    assert any(row["volume"] is not None and row["cpc_usd"] is not None for row in by_provider)
    assert sum(row["difficulty"] is not None for row in rows) > len(rows) * 0.7
    domains = {"ledgerpilot.example", "payloom.example", "approvio.example"}
    for source in (
        source for row in rows for source in row["sources"] if source.get("endpoint") == "keywords_for_site"
    ):
        assert source == {
            "provider": "dataforseo",
            "endpoint": "keywords_for_site",
            "asked": source["domain"],
            "domain": source["domain"],
        }
        assert source["domain"] in domains
    assert not any("ledgerpilot" in row["text"] or "payloom" in row["text"] for row in added)

    attempts = await run.rows(ATTEMPTS)
    assert {row["slot"] for row in attempts if row["model"] == SITE} == {
        f"keyword_data:{domain}:keywords_for_site" for domain in domains
    }
    assert {row["model"].partition("/")[2] for row in attempts} == set(endpoints)
    assert all(row["state"] == "SETTLED" for row in attempts)
    for row in attempts:
        ledger = await run.pipeline.database.admin.fetchval(
            "SELECT cost FROM ai_usage_ledger WHERE attempt_id = $1", row["attempt_id"]
        )
        assert 0 < ledger <= row["hold_usd"]
        assert ledger == row["computed_cost_usd"] == row["provider_cost_usd"]
    assert {row["hold_usd"] for row in attempts if row["model"] == SITE} == {Decimal("0.014")}  # 0.01 + 40 rows
    assert (await verdict_of(run))["reasons"] == []
    await assert_books_balance(run)


async def test_a_rejected_list_is_searched_anew_without_paying_again(pipeline: Pipeline) -> None:
    run = await reviewed(pipeline)
    before = {row["attempt_id"] for row in await run.rows(ATTEMPTS)}
    seeds = SeedDecision(kind=SeedDecisionKind.REJECT, feedback="look for terms of the purchasing department")
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    await run.reaches(State.SEED_REVIEW_PENDING)
    again = await run.rows(ATTEMPTS)

    reuses = await run.rows(
        "SELECT * FROM spend_reuses WHERE workflow_id = $1 AND slot LIKE 'keyword_data:%:keywords_for_site'"
    )
    assert {row["attempt_id"] for row in again if row["model"] == SITE} <= before
    assert len(reuses) == 3
    assert any(source.get("endpoint") for row in await run.rows(KEYWORDS) for source in row["sources"])
    await assert_books_balance(run)


PERMANENT = {
    "no money left": {"kind": "internal_error", "code": 40210, "where": "before_headers"},
    "Invalid Field": {"kind": "internal_error", "code": 40501},
    "HTTP 401": {"kind": "http_status", "status": 401},
}
PASSING = {
    "Internal SE Server Error": {"kind": "internal_error", "code": 40101, "charged": True},
    "RemoteProtocolError": {"kind": "bill_then_drop", "where": "before_headers"},
    "no envelope": {"kind": "invalid_json"},
}


@pytest.mark.parametrize("faults", [PERMANENT, PASSING])
async def test_a_failing_provider_leaves_the_crawled_keywords(
    pipeline: Pipeline, faults: dict[str, dict[str, Any]]
) -> None:
    """Each of the three sites meets another fault, and the difficulties the last of them."""
    last = [{**rule, "nth": 4} for rule in list(faults.values())[-1:]]
    rules = [{**rule, "nth": place} for place, rule in enumerate(faults.values(), start=1)]
    await pipeline.faults(*({**rule, "path": KEYWORD_PATH} for rule in [*rules, *last]))
    run = await reviewed(pipeline, changes={"asks_max": 1})

    rows = await run.rows(KEYWORDS)
    assert rows
    assert all("url" in source for row in rows for source in row["sources"])
    verdict = await verdict_of(run)
    assert verdict["level"] == "warn"
    notes = [reason for reason in verdict["reasons"] if reason["code"] == "KEYWORD_DATA_MISSING"]
    subjects = {"ledgerpilot.example", "payloom.example", "approvio.example", "seed_keywords"}
    assert {note["subject"] for note in notes} == subjects
    told = " | ".join(note["message"] for note in notes)
    assert all(words in told for words in faults), told
    assert "\n" not in told
    await assert_books_balance(run)


async def test_a_passing_trouble_is_asked_about_once_more(pipeline: Pipeline) -> None:
    await pipeline.faults({"kind": "internal_error", "code": 50000, "seconds": 0, "path": KEYWORD_PATH, "count": 3})
    run = await reviewed(pipeline)

    states = [(row["ask"], row["state"]) for row in await run.rows(ATTEMPTS) if row["model"] == SITE]
    assert sorted(states) == [(1, "NOT_BILLED")] * 3 + [(2, "SETTLED")] * 3
    assert (await verdict_of(run))["reasons"] == []
    await assert_books_balance(run)


async def test_one_failing_answer_costs_only_what_it_would_have_added(pipeline: Pipeline) -> None:
    await pipeline.faults({"kind": "internal_error", "code": 40501, "path": KEYWORD_PATH, "count": 1})
    run = await reviewed(pipeline)

    notes = [one for one in (await verdict_of(run))["reasons"] if one["code"] == "KEYWORD_DATA_MISSING"]
    assert len(notes) == 1
    asked = {source["domain"] for row in await run.rows(KEYWORDS) for source in row["sources"] if "endpoint" in source}
    assert len(asked - {""}) == 2
    await assert_books_balance(run)


async def test_the_cap_refuses_keyword_data_and_the_step_says_so(pipeline: Pipeline) -> None:
    """A hold of a thousand rows is $0.11: a cap below takes none of it, and the rest goes on."""
    run = await reviewed(pipeline, changes={"rows_per_site_max": 1000}, cap_usd="0.10")

    attempts = await run.rows(ATTEMPTS)
    assert {row["state"] for row in attempts if row["model"] == SITE} == {"REFUSED"}
    notes = [one for one in (await verdict_of(run))["reasons"] if one["code"] == "KEYWORD_DATA_CAP_REACHED"]
    assert len(notes) == 3
    assert all("cap of $0.10" in note["message"] for note in notes)
    assert await run.rows(KEYWORDS)
    await assert_books_balance(run)


async def test_a_market_without_figures_is_named_and_nothing_is_asked(pipeline: Pipeline) -> None:
    run = await reviewed(pipeline, country="DE", locale="en-US")

    assert await run.rows(ATTEMPTS) == []
    [note] = [one for one in (await verdict_of(run))["reasons"] if one["code"].startswith("KEYWORD_DATA")]
    assert "DE in de, not in the language of the locale en-US" in note["message"]


async def test_sites_that_cannot_be_read_are_no_failure_where_the_provider_knows_them(pipeline: Pipeline) -> None:
    names = ("ledgerpilot", "payloom", "approvio")
    await pipeline.faults(*({"kind": "http_status", "status": 500, "path": f"/sites/{name}"} for name in names))
    run = await reviewed(pipeline)

    rows = await run.rows(KEYWORDS)
    assert rows
    assert all("endpoint" in source for row in rows for source in row["sources"])
    verdict = await verdict_of(run)
    assert verdict["level"] == "warn"
    assert "COMPETITORS_UNREADABLE" in {reason["code"] for reason in verdict["reasons"]}
    await assert_books_balance(run)


async def test_without_an_account_nothing_is_asked(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    assert await run.rows(ATTEMPTS) == []
    assert (await verdict_of(run))["reasons"] == []
