"""Seeded bugs: what is broken, and which tests have to notice.

An edit replaces text that stands exactly once in its file; one that does not apply is an error, never a survivor.
"""

from dataclasses import dataclass
from pathlib import Path

ADVANCE = "db/functions/advance_workflow.sql"
AUTHORIZE = "db/functions/authorize_attempts.sql"
DISPATCH = "db/functions/dispatch_attempt.sql"
SCOPES = "db/functions/money_scopes.sql"
SETTLE = "db/functions/settle_attempts.sql"
OUTCOME = "db/functions/store_outcome.sql"
AMOUNTS = "db/functions/money_amounts.sql"
GUARDS = "db/migrations/0003_guard_transitions.sql"
TENANTS = "db/migrations/0002_protect_tenants.sql"
RECONCILE = "db/functions/reconcile_attempts.sql"
FREEZE = "db/functions/freeze_scope.sql"
ALERTS = "db/functions/alerts.sql"
PLANS = "db/functions/plans.sql"
PRICES = "db/functions/prices.sql"
REPORTS = "db/cost_reports.py"
PUBLICATIONS = "db/publications.py"
RECONCILER = "activities/reconciliation.py"
RECONCILING = "db/reconciliation.py"
MODEL_API = "providers/language_model.py"
CHAT_ANSWERS = "providers/chat_answers.py"
CHECKERS = "tests/chaos/checkers.py"

GRAPH_MODEL = "tests/model/test_graph_model.py"
LEDGER_MODEL = "tests/model/test_ledger_model.py"
STATES = "tests/integration/test_state_machine.py"
PROTOCOL = "tests/integration/test_money_protocol.py"
CONCURRENCY = "tests/integration/test_money_concurrency.py"
MONEY_AMOUNTS = "tests/integration/test_money_amounts.py"
ISOLATION = "tests/integration/test_tenant_isolation.py"
PROBES = "tests/integration/test_tenant_probes.py"
DATABASE_ERRORS = "tests/integration/test_database_errors.py"
PROVIDER = "tests/integration/test_language_model.py"
RECONCILIATION = "tests/integration/test_reconciliation.py"
PLAN_TESTS = "tests/integration/test_plans.py"
PRICE_TESTS = "tests/integration/test_prices.py"
REPORT_TESTS = "tests/integration/test_cost_reports.py"
PUBLICATION_TESTS = "tests/integration/test_publications.py"
LATE_PUBLISHING = "tests/integration/test_late_publishing.py"
MAINTENANCE = "tests/workflows/test_maintenance.py"
MONEY_UNIT = "tests/unit/test_money.py"
CHAT_UNIT = "tests/unit/test_chat_answers.py"
CALLS_UNIT = "tests/unit/test_paid_calls.py"
FORECAST_UNIT = "tests/unit/test_forecast.py"
CHECKER_TESTS = "tests/chaos/test_checkers.py"
INTERRUPTIONS = "tests/workflows/test_interruptions.py"
PIPELINE = "tests/workflows/test_intent_workflow.py"


@dataclass(frozen=True)
class Edit:
    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """``tests`` are files or test ids, as pytest takes them; at least one test in them has to fail."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


class PatchError(Exception):
    """An edit does not fit the file any more: give it the text that stands there now."""


def mutant(name: str, path: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(path, old, new),), tests)


def patched(text: str, edit: Edit) -> str:
    found = text.count(edit.old)
    if found != 1:
        raise PatchError(f"{edit.path}: the text to replace stands there {found} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def patched_files(one: Mutant, root: Path) -> dict[str, str]:
    """The files of a mutant as it breaks them. Raises PatchError."""
    texts: dict[str, str] = {}
    for edit in one.edits:
        text = texts.get(edit.path)
        texts[edit.path] = patched((root / edit.path).read_text(encoding="utf-8") if text is None else text, edit)
    return texts


STATE_MUTANTS = (
    mutant(
        "version_not_compared",
        ADVANCE,
        "(v_state, v_version) IS DISTINCT FROM (p_expected_state, p_expected_version)",
        "v_state IS DISTINCT FROM p_expected_state",
        GRAPH_MODEL,
    ),
    mutant(
        "row_not_locked",
        "db/functions/lock_workflow.sql",
        "    FOR NO KEY UPDATE\n",
        "",
        f"{STATES}::test_of_many_concurrent_transitions_one_wins",
    ),
    mutant("conflict_on_a_replay", ADVANCE, "IF v_known.transition_id IS NOT NULL THEN", "IF false THEN", GRAPH_MODEL),
    mutant(
        "replay_of_anything",
        ADVANCE,
        "IS DISTINCT FROM (p_workflow_id, p_expected_state, p_next_state, p_expected_version)",
        "IS NULL",
        GRAPH_MODEL,
    ),
    mutant(
        "terminal_is_a_conflict",
        ADVANCE,
        "WHEN v_state IN ('COMPLETED', 'CANCELLED') THEN 'terminal'",
        "WHEN v_state IS NULL THEN 'terminal'",
        GRAPH_MODEL,
    ),
    mutant(
        "any_edge_is_legal",
        ADVANCE,
        "SELECT FROM legal_transitions WHERE from_state = p_expected_state AND to_state = p_next_state",
        "SELECT FROM legal_transitions WHERE to_state = p_next_state",
        GRAPH_MODEL,
    ),
    Mutant(
        "audit_as_best_effort",
        (
            Edit(ADVANCE, "    INSERT INTO workflow_transitions (", "    BEGIN INSERT INTO workflow_transitions ("),
            Edit(
                ADVANCE,
                "v_version, p_actor, p_reason, p_run_id);",
                "v_version, p_actor, p_reason, p_run_id); EXCEPTION WHEN OTHERS THEN NULL; END;",
            ),
            Edit(
                GUARDS,
                "WHEN (NEW.state IS DISTINCT FROM OLD.state OR NEW.version IS DISTINCT FROM OLD.version)",
                "WHEN (false)",
            ),
        ),
        (f"{STATES}::test_without_the_audit_row_the_state_stays",),
    ),
    mutant(
        "state_without_audit",
        GUARDS,
        "WHEN (NEW.state IS DISTINCT FROM OLD.state OR NEW.version IS DISTINCT FROM OLD.version)",
        "WHEN (false)",
        GRAPH_MODEL,
    ),
    mutant(
        "edge_missing_in_the_database",
        GUARDS,
        "('CLUSTERING_FAILED', 'SEED_REVIEW_PENDING'), ",
        "",
        f"{STATES}::test_every_legal_edge_and_no_other_can_be_taken",
    ),
    mutant(
        "audit_can_be_rewritten",
        GUARDS,
        "BEFORE UPDATE OR DELETE OR TRUNCATE ON workflow_transitions",
        "BEFORE TRUNCATE ON workflow_transitions",
        f"{STATES}::test_the_rules_bind_the_owner_too",
    ),
    mutant(
        "replay_not_told",
        "db/transitions.py",
        "version=version, replayed=True",
        "version=version, replayed=False",
        f"{STATES}::test_the_same_transition_again_gives_the_first_result",
    ),
    mutant(
        "any_claim_holds",
        "db/transitions.py",
        "if (locked.state, locked.version) != (processing_state(step), claim):",
        "if locked.state != processing_state(step):",
        GRAPH_MODEL,
    ),
)

AUTHORIZING_MUTANTS = (
    mutant(
        "lost_claim_authorizes",
        AUTHORIZE,
        "'_PROCESSING' OR v_version <> v_ask.claim THEN",
        "'_PROCESSING' THEN",
        f"{PROTOCOL}::test_L13_claim_of_another_step_or_version_or_workflow_authorizes_nothing",
    ),
    mutant(
        "hold_skipped",
        AUTHORIZE,
        "UPDATE intent_workflows SET held_usd = held_usd + p_ask.hold_usd,",
        "UPDATE intent_workflows SET held_usd = held_usd,",
        f"{CONCURRENCY}::test_L1_a_burst_at_the_edge_of_the_cap_admits_exactly_what_fits",
    ),
    mutant(
        "cap_against_spent_only",
        AUTHORIZE,
        "v_workflow.spent_usd + v_workflow.held_usd + p_ask.hold_usd <= v_cap",
        "v_workflow.spent_usd + p_ask.hold_usd <= v_cap",
        f"{CONCURRENCY}::test_L1_a_burst_at_the_edge_of_the_cap_admits_exactly_what_fits",
        LEDGER_MODEL,
    ),
    mutant(
        "month_without_a_cap",
        AUTHORIZE,
        "v_cap > 0 AND v_month.spent_usd + v_month.held_usd + p_ask.hold_usd <= v_cap",
        "v_cap > 0",
        f"{CONCURRENCY}::test_L1_the_months_cap_holds_over_several_workflows",
        LEDGER_MODEL,
    ),
    mutant(
        "month_not_locked",
        SCOPES,
        "WHERE organization_id = p_organization_id AND month = v_month FOR NO KEY UPDATE;",
        "WHERE organization_id = p_organization_id AND month = v_month;",
        f"{CONCURRENCY}::test_L1_two_workflows_meet_at_the_months_last_room",
    ),
    mutant(
        "refused_may_ask_again",
        AUTHORIZE,
        "        FROM spend_attempts\n        UNION ALL",
        "        FROM spend_attempts WHERE state <> 'REFUSED'\n        UNION ALL",
        f"{PROTOCOL}::test_L6_a_refused_uuid_stays_refused",
    ),
    mutant(
        "rejected_answer_handed_out",
        AUTHORIZE,
        " AND rejected_reason IS NULL",
        "",
        f"{PROTOCOL}::test_L18_nothing_rejected_unsettled_or_different_is_handed_out",
    ),
    mutant(
        "answer_to_another_question",
        AUTHORIZE,
        "AND slot_hash = p_ask.slot_hash ",
        "",
        f"{PROTOCOL}::test_L18_nothing_rejected_unsettled_or_different_is_handed_out",
    ),
    mutant(
        "request_fee_not_held",
        AMOUNTS,
        "+ p_price.usd_per_request + p_searches * p_price.usd_per_search",
        "+ p_searches * p_price.usd_per_search",
        MONEY_AMOUNTS,
    ),
    mutant("rounded_down", AMOUNTS, "ceil(p_amount * 1000000000)", "floor(p_amount * 1000000000)", MONEY_AMOUNTS),
    mutant(
        "reserved_outlives_its_claim",
        ADVANCE,
        "IF v_state LIKE '%\\_PROCESSING' THEN",
        "IF false THEN",
        f"{PROTOCOL}::test_L22_leaving_the_step_voids_what_was_reserved_and_a_zombie_sends_nothing",
        LEDGER_MODEL,
    ),
)

CALLING_MUTANTS = (
    mutant(
        "lost_claim_dispatches",
        DISPATCH,
        "'_PROCESSING' OR v_workflow.version <> v_attempt.claim THEN",
        "'_PROCESSING' THEN",
        f"{PROTOCOL}::test_L22_a_claim_lost_between_authorize_and_dispatch_voids",
    ),
    mutant(
        "sent_twice",
        DISPATCH,
        "    IF v_attempt.state <> 'RESERVED' THEN\n        RETURN false;",
        "    IF v_attempt.state <> 'RESERVED' THEN\n        RETURN v_attempt.state = 'DISPATCHED';",
        f"{PROTOCOL}::test_L3_only_one_of_many_dispatches_may_send",
        LEDGER_MODEL,
    ),
    mutant(
        "sent_after_expiry",
        DISPATCH,
        "IF v_now >= v_attempt.expires_at THEN",
        "IF false THEN",
        f"{PROTOCOL}::test_L9_past_its_expiry_nothing_is_sent_and_the_hold_is_free",
    ),
    mutant(
        "unknown_released",
        OUTCOME,
        "    IF v_attempt.state IN ('DISPATCHED', 'UNKNOWN') THEN\n",
        "    IF v_attempt.state IN ('DISPATCHED', 'UNKNOWN') THEN\n"
        "        PERFORM move_money(v_attempt, -v_attempt.hold_usd, 0);\n",
        f"{PROTOCOL}::test_L7_unknown_keeps_its_hold_and_a_late_answer_is_booked_once",
    ),
    mutant(
        "late_answer_not_booked",
        OUTCOME,
        "IF v_is_late THEN",
        "IF false THEN",
        f"{PROTOCOL}::test_L7_unknown_keeps_its_hold_and_a_late_answer_is_booked_once",
        LEDGER_MODEL,
    ),
    mutant(
        "another_answer_taken_silently",
        OUTCOME,
        "PERFORM require_same_answer(v_attempt, p_body, p_model, v_facts);",
        "",
        f"{PROTOCOL}::test_L8_the_same_answer_twice_is_one_and_another_is_an_error",
    ),
    mutant(
        "outcome_of_what_was_never_sent",
        OUTCOME,
        "IF p_attempt.dispatched_at IS NULL THEN",
        "IF false THEN",
        f"{PROTOCOL}::test_L9_what_was_never_sent_has_no_outcome",
    ),
    mutant(
        "month_at_settlement",
        SETTLE,
        "p_attempt.attempt_id, p_attempt.workflow_id, p_attempt.organization_id, p_attempt.month,",
        "p_attempt.attempt_id, p_attempt.workflow_id, p_attempt.organization_id, current_spend_month(),",
        f"{PROTOCOL}::test_L16_the_month_is_fixed_at_authorization",
    ),
    mutant(
        "correction_pays_twice",
        SETTLE,
        "p_cost - booked_cost(p_attempt.attempt_id)",
        "p_cost",
        f"{PROTOCOL}::test_L17_a_write_off_is_booked_at_the_hold_and_corrected_by_the_late_answer",
        LEDGER_MODEL,
    ),
    mutant(
        "overrun_does_not_freeze",
        SCOPES,
        "IF p_overrun > 0 THEN",
        "IF false THEN",
        f"{PROTOCOL}::test_L12_an_overrun_is_booked_in_full_and_freezes_both_scopes",
    ),
    mutant(
        "unknown_model_costs_nothing",
        SETTLE,
        "greatest(p_attempt.hold_usd, v_computed)",
        "coalesce(v_computed, 0)",
        f"{PROTOCOL}::test_L12_an_answer_of_another_model_is_never_booked_at_zero",
    ),
    mutant(
        "ledger_can_be_rewritten",
        GUARDS,
        "BEFORE UPDATE OR DELETE OR TRUNCATE ON ai_usage_ledger",
        "BEFORE TRUNCATE ON ai_usage_ledger",
        f"{STATES}::test_the_rules_bind_the_owner_too",
    ),
    mutant(
        "call_torn_away",
        "activities/spend.py",
        "await finish_despite_cancellation(self._dispatch_and_send(call))",
        "await self._dispatch_and_send(call)",
        f"{INTERRUPTIONS}::test_cancelled_in_the_middle_of_a_paid_call",
    ),
    mutant(
        "not_settled_by_the_run",
        "workflows/paid_calls.py",
        "    await _settle(context, answered)\n",
        "",
        f"{PIPELINE}::test_a_cap_that_is_too_low_parks_and_is_raised",
        f"{PIPELINE}::test_a_brief_becomes_published_articles",
    ),
    mutant(
        "unknown_is_the_end",
        "workflows/paid_calls.py",
        "    if outcome.permanent and one.model_index >= len(one.route.models):",
        "    if outcome.kind is not OutcomeKind.NOT_BILLED:",
        f"{PIPELINE}::test_an_unknown_outcome_keeps_its_hold_and_the_run_goes_on",
    ),
    mutant(
        "repair_not_rejected",
        "activities/judging.py",
        "    await spend.reject(connection, claim.organization_id, attempt_id, message)",
        "    return",
        f"{PIPELINE}::test_an_invalid_answer_is_booked_and_asked_again",
        f"{PIPELINE}::test_an_answer_that_stays_invalid_blocks_the_step",
    ),
)

AMOUNT_MUTANTS = (
    mutant(
        "key_random",
        "domain/identifiers.py",
        'return AttemptId(uuid5(workflow_id, f"{step}/{slot}/{claim}/{ask}"))',
        'return AttemptId(__import__("uuid").uuid4())',
        MONEY_UNIT,
    ),
    mutant("key_without_the_ask", "domain/identifiers.py", "/{claim}/{ask}", "/{claim}", MONEY_UNIT),
    mutant(
        "float_is_money",
        "domain/money.py",
        "    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):",
        "    if isinstance(value, bool):",
        MONEY_UNIT,
    ),
    mutant("rounded_to_even", "domain/money.py", "rounding=ROUND_CEILING", 'rounding="ROUND_HALF_EVEN"', MONEY_UNIT),
    mutant("many_answers_for_one", "domain/spend.py", 'body.get("n", 1) != 1', "False", MONEY_UNIT),
    mutant(
        "numeric_as_float",
        "db/pool.py",
        "encoder=_encode_numeric, decoder=Decimal",
        "encoder=_encode_numeric, decoder=float",
        f"{DATABASE_ERRORS}::test_values_go_through_exactly",
        f"{PROTOCOL}::test_L11_nano_dollars_survive_from_answer_to_ledger",
    ),
    mutant(
        "float_into_the_database",
        "db/pool.py",
        "if isinstance(value, bool) or not isinstance(value, Decimal | int):",
        "if isinstance(value, bool):",
        f"{DATABASE_ERRORS}::test_money_is_no_float_and_no_text",
    ),
    mutant(
        "cost_through_a_float",
        "providers/chat_answers.py",
        "parse_float=Decimal, ",
        "",
        f"{PROVIDER}::test_a_cost_that_a_float_would_change_is_booked_as_stated",
        CHAT_UNIT,
    ),
    mutant(
        "incredible_bill_booked",
        "db/spend.py",
        "else usage_fault(answer.usage)",
        "else None",
        f"{PROTOCOL}::test_L12_an_incredible_usage_is_no_figure_to_book_by",
    ),
)

TENANT_MUTANTS = (
    mutant(
        "owner_sees_all",
        TENANTS,
        "ALTER TABLE %s FORCE ROW LEVEL SECURITY",
        "ALTER TABLE %s ENABLE ROW LEVEL SECURITY",
        f"{PROBES}::test_L20_every_call_that_speaks_of_their_rows_speaks_of_none",
    ),
    mutant(
        "no_organization_sees_all",
        TENANTS,
        "            USING (organization_id = ",
        "            USING (nullif(current_setting('app.organization_id', true), '') IS NULL OR organization_id = ",
        f"{ISOLATION}::test_an_empty_organization_is_no_organization",
    ),
    mutant(
        "everybody_sees_the_books",
        TENANTS,
        "FOR SELECT TO infin8_operator USING (true)",
        "FOR SELECT USING (true)",
        f"{PROBES}::test_L20_their_rows_are_invisible_in_every_table",
    ),
    mutant(
        "key_without_the_organization",
        "db/migrations/0001_create_tables.sql",
        "PRIMARY KEY (decision_id, organization_id),\n    CONSTRAINT cap_change_belongs_to_workflow",
        "PRIMARY KEY (decision_id),\n    CONSTRAINT cap_change_belongs_to_workflow",
        f"{PROBES}::test_L20_every_key_of_a_tenants_table_holds_the_organization",
    ),
)

PROVIDER_MUTANTS = (
    mutant("sdk_retries", MODEL_API, "max_retries=0", "max_retries=2", f"{PROVIDER}::test_a_refusal_is_not_billed"),
    mutant(
        "redirects_followed",
        MODEL_API,
        "follow_redirects=False",
        "follow_redirects=True",
        f"{PROVIDER}::test_a_redirect_is_not_followed",
    ),
    mutant(
        "request_without_its_uuid",
        MODEL_API,
        '"X-Client-Request-Id": str(attempt_id)',
        '"X-Client-Request-Id": "1"',
        f"{PROVIDER}::test_the_stored_body_is_sent_byte_for_byte_once_under_the_attempts_uuid",
    ),
    mutant(
        "billed_error_taken_for_free",
        MODEL_API,
        "received.is_refused and (_is_unbilled(received, look_up) if usage is None else _is_free(usage))",
        "received.is_refused",
        f"{PROVIDER}::test_an_error_with_usage_is_booked",
    ),
    mutant(
        "silence_taken_for_free",
        MODEL_API,
        "received.ended_early is None and (received.generation_id is None or look_up.is_absent)",
        "received.ended_early is None",
        f"{PROVIDER}::test_a_server_error_of_a_generation_nobody_can_speak_for_is_unknown",
    ),
    mutant(
        "packed_bytes_bounded",
        MODEL_API,
        "self._check_size(max(arrived, unpacked))",
        "self._check_size(arrived)",
        f"{PROVIDER}::test_a_packed_answer_is_bounded_by_what_it_unpacks_to",
    ),
    mutant(
        "charset_of_the_header_believed",
        MODEL_API,
        'response.encoding = "utf-8-sig"',
        "_ = response.encoding",
        f"{PROVIDER}::test_an_answer_is_utf_8_whatever_its_header_says",
    ),
    mutant(
        "fee_taken_for_the_cost",
        CHAT_ANSWERS,
        "return None if upstream_usd is None else cost_usd + upstream_usd",
        "return cost_usd + (upstream_usd or 0)",
        CHAT_UNIT,
    ),
    mutant(
        "unclear_status_taken_for_free",
        MODEL_API,
        "status >= 300 and status not in _UNCLEAR_STATUSES",
        "status >= 300",
        f"{PROVIDER}::test_a_status_that_is_no_evidence_is_unknown",
    ),
    mutant(
        "hang_up_taken_for_free",
        MODEL_API,
        "    httpx2.ProxyError,\n",
        "    httpx2.ProxyError,\n    httpx2.RemoteProtocolError,\n",
        f"{PROVIDER}::test_a_server_that_hangs_up_without_a_word_is_unknown",
    ),
    mutant(
        "running_usage_taken_for_final",
        CHAT_ANSWERS,
        "self._usage, self._is_usage_final = usage, self._has_ended",
        "self._usage, self._is_usage_final = usage, True",
        f"{PROVIDER}::test_a_running_usage_is_no_figure_however_the_stream_ends",
        f"{PROVIDER}::test_a_cut_stream_is_unknown",
        f"{PROVIDER}::test_a_cut_stream_is_booked_at_the_figure_looked_up",
    ),
    mutant(
        "key_in_an_error",
        MODEL_API,
        'return text.replace(self._key.get_secret_value(), "[key]") if text else text',
        "return text",
        f"{PROVIDER}::test_the_key_is_nowhere_but_in_the_request",
    ),
    mutant(
        "id_not_stored_early",
        MODEL_API,
        "            await on_generation_id(generation_id)",
        "            pass",
        f"{PROVIDER}::test_the_generation_id_of_the_headers_is_told_before_the_first_chunk",
    ),
)

OPERATING_MUTANTS = (
    mutant(
        "expired_before_its_time",
        RECONCILE,
        "WHEN p_attempt.state = 'RESERVED' AND p_attempt.expires_at <= p_now THEN 'EXPIRED'",
        "WHEN p_attempt.state = 'RESERVED' THEN 'EXPIRED'",
        f"{RECONCILIATION}::test_what_is_not_due_yet_is_told_with_its_reason_and_its_moment",
    ),
    mutant(
        "unknown_kept_for_ever",
        RECONCILE,
        "WHEN p_attempt.state = 'UNKNOWN'",
        "WHEN p_attempt.state = 'NEVER'",
        f"{RECONCILIATION}::test_L23_dispatched_past_its_deadline_is_unknown_then_written_off_at_its_hold",
    ),
    mutant(
        "answered_never_settled",
        RECONCILE,
        "            PERFORM settle_attempt(v_attempt);\n",
        "            NULL;\n",
        f"{RECONCILIATION}::test_L23_answered_and_never_settled_is_settled_also_after_the_workflow_ended",
    ),
    mutant(
        "looked_up_cost_booked_twice",
        RECONCILE,
        "IF v_attempt.state NOT IN ('UNKNOWN', 'WRITTEN_OFF') THEN",
        "IF false THEN",
        f"{RECONCILIATION}::test_a_pass_is_idempotent_after_any_of_its_transactions",
        f"{RECONCILIATION}::test_an_unknown_is_booked_at_what_the_provider_says_and_once",
        f"{RECONCILIATION}::test_two_reconcilers_and_more_at_once_resolve_everything_exactly_once",
    ),
    mutant(
        "correction_with_one_key_booked_again",
        RECONCILE,
        "WHERE idempotency_key = p_key AND organization_id = p_organization_id;\n    IF FOUND THEN",
        "WHERE idempotency_key = p_key AND organization_id = p_organization_id;\n    IF false THEN",
        f"{RECONCILIATION}::test_L19_a_refund_is_a_linked_row_and_moves_both_scopes",
        f"{RECONCILIATION}::test_two_corrections_with_one_key_at_once_book_one",
    ),
    mutant(
        "refund_of_more_than_was_paid",
        RECONCILE,
        "IF v_booked + p_amount < 0 THEN",
        "IF false THEN",
        f"{RECONCILIATION}::test_L19_a_refund_is_a_linked_row_and_moves_both_scopes",
    ),
    mutant(
        "dearer_correction_is_no_overrun",
        RECONCILE,
        "    IF v_overrun > 0 THEN\n        PERFORM freeze_for_overrun",
        "    IF false THEN\n        PERFORM freeze_for_overrun",
        f"{RECONCILIATION}::test_L1_a_dearer_bill_after_the_freed_money_was_spent_is_an_overrun_and_freezes",
    ),
    mutant(
        "thaw_without_audit",
        FREEZE,
        "    INSERT INTO scope_freezes (decision_id, organization_id, workflow_id, month, action, frozen_reason, "
        "actor, reason)\n    VALUES (p_decision_id, p_organization_id, p_workflow_id, p_month, 'thaw', v_frozen,"
        " trim(p_actor), trim(p_reason));\n",
        "",
        f"{RECONCILIATION}::test_L12_an_overrun_freezes_until_an_operator_thaws_both_scopes_with_a_reason",
    ),
    mutant(
        "thaw_undoes_a_later_freeze",
        FREEZE,
        "IF v_known.decision_id IS NOT NULL OR v_frozen IS NULL THEN",
        "IF v_frozen IS NULL THEN",
        f"{RECONCILIATION}::test_a_thaw_is_told_again_what_it_did_and_undoes_no_later_freeze",
    ),
    mutant(
        "alert_on_spent_only",
        ALERTS,
        "v_used CONSTANT numeric := p_spent_usd + p_held_usd;",
        "v_used CONSTANT numeric := p_spent_usd;",
        f"{PLAN_TESTS}::test_an_alert_is_written_once_by_the_authorization_that_crosses",
    ),
    mutant(
        "refusal_without_its_alert",
        ALERTS,
        " OR (threshold = 100 AND p_is_refusal)",
        "",
        f"{PLAN_TESTS}::test_a_refusal_is_the_alert_of_100_percent",
    ),
    mutant(
        "alerts_never_armed_again",
        ALERTS,
        "v_round + (p_cap_usd > v_round_cap)::integer",
        "v_round",
        f"{PLAN_TESTS}::test_a_raised_cap_arms_its_alerts_again_and_a_lowered_one_does_not",
    ),
    mutant(
        "plan_changed_without_audit",
        PLANS,
        "    INSERT INTO organization_plan_changes (decision_id, organization_id, from_plan_key, to_plan_key, actor)\n"
        "    VALUES (p_decision_id, p_organization_id, v_before, p_plan_key, p_actor);\n",
        "",
        f"{PLAN_TESTS}::test_an_organization_gets_a_plan_and_the_audit_says_who_gave_it",
    ),
    mutant(
        "same_plan_decision_twice",
        PLANS,
        "IF v_known.decision_id IS NOT NULL OR (v_plan IS NOT DISTINCT FROM v_before AND NOT v_is_new) THEN",
        "IF (v_plan IS NOT DISTINCT FROM v_before AND NOT v_is_new) THEN",
        f"{PLAN_TESTS}::test_the_same_decision_changes_a_plan_once",
    ),
    mutant(
        "price_of_the_past_changed",
        PRICES,
        "IF v_new.effective_from < now() THEN",
        "IF false THEN",
        f"{PRICE_TESTS}::test_a_planned_price_is_replaced_and_one_in_force_is_not",
        f"{PRICE_TESTS}::test_a_later_price_ends_the_one_that_runs",
    ),
    mutant(
        "one_failure_ends_the_pass",
        RECONCILER,
        "        except PermanentError as error:\n            self.failures.append(",
        "        except PermanentError as error:\n            raise\n            self.failures.append(",
        f"{RECONCILIATION}::test_one_attempt_that_cannot_be_resolved_keeps_no_other_from_it",
    ),
    mutant(
        "run_of_an_ended_row_goes_on",
        RECONCILER,
        "        if is_terminal(row.state):\n            return await self._end_run(run, row)\n",
        "",
        f"{MAINTENANCE}::test_an_open_run_of_an_ended_row_is_told_to_end",
    ),
    mutant(
        "young_rows_started_twice",
        RECONCILER,
        "        if row.unchanged_seconds < self._settings.run_grace_seconds:\n            return None\n        last =",
        "        last =",
        f"{MAINTENANCE}::test_what_has_just_changed_is_left_in_peace",
    ),
)

# These lived through every test of their day: each came with the test that catches it.
LATER_MUTANTS = (
    mutant(
        "settled_by_todays_price",
        SETTLE,
        "v_price := price_at(v_model, p_attempt.authorized_at);",
        "v_price := price_at(v_model, clock_timestamp());",
        f"{PRICE_TESTS}::test_a_cost_is_computed_by_the_prices_of_its_authorization",
    ),
    mutant(
        "correction_in_todays_month",
        RECONCILE,
        "p_organization_id, v_attempt.month, 'correction',",
        "p_organization_id, current_spend_month(), 'correction',",
        f"{RECONCILIATION}::test_L16_a_correction_belongs_to_the_month_of_its_attempt",
    ),
    mutant(
        "correction_overrun_of_the_workflow_only",
        RECONCILE,
        "(SELECT spent_usd + held_usd + p_amount - coalesce(cap_usd, 0) - overrun_usd\n         FROM"
        " organization_months",
        "(SELECT 0\n         FROM organization_months",
        f"{RECONCILIATION}::test_L1_a_dearer_bill_after_others_took_the_months_room_is_an_overrun_of_the_month",
    ),
    mutant(
        "every_month_thawed",
        FREEZE,
        "WHERE organization_id = p_organization_id AND month = p_month;\nEND",
        "WHERE organization_id = p_organization_id AND p_month IS NOT NULL;\nEND",
        f"{RECONCILIATION}::test_a_month_is_thawed_and_the_others_stay_frozen",
    ),
    mutant(
        "given_up_within_its_deadline",
        RECONCILE,
        "WHEN p_attempt.state = 'DISPATCHED'\n            AND p_attempt.call_deadline_at +",
        "WHEN p_attempt.state = 'DISPATCHED'\n            AND p_attempt.dispatched_at +",
        f"{RECONCILIATION}::test_L23_a_call_within_its_deadline_is_left_to_its_worker",
    ),
    mutant(
        "months_of_all_organizations_added_up",
        RECONCILING,
        "WHERE (ledger.organization_id, ledger.month) = (scope.organization_id, scope.month)) AS booked",
        "WHERE ledger.month = scope.month) AS booked",
        f"{RECONCILIATION}::test_L10_counters_of_several_organizations_are_each_compared_with_their_own_rows",
    ),
    mutant(
        "frozen_months_of_everybody",
        RECONCILING,
        "FROM organization_months WHERE frozen_reason IS NOT NULL AND ($1::uuid IS NULL OR organization_id = $1)",
        "FROM organization_months WHERE frozen_reason IS NOT NULL AND ($1::uuid IS NULL OR true)",
        f"{RECONCILIATION}::test_frozen_scopes_of_one_organization_are_its_own",
    ),
    mutant(
        "unanswered_attempt_handed_out",
        AUTHORIZE,
        "AND state = 'SETTLED' AND usage IS NOT NULL AND answer_body IS NOT NULL AND",
        "AND state = 'SETTLED' AND usage IS NOT NULL AND",
        f"{PROTOCOL}::test_L18_what_is_settled_without_an_answer_is_asked_anew",
    ),
    mutant(
        "part_of_an_answer_handed_out",
        AUTHORIZE,
        "AND state = 'SETTLED' AND usage IS NOT NULL AND answer_body IS NOT NULL AND",
        "AND state = 'SETTLED' AND answer_body IS NOT NULL AND",
        f"{RECONCILIATION}::test_the_whole_answer_takes_the_place_of_a_part_and_a_part_is_never_handed_out",
    ),
    mutant(
        "answer_after_a_resolution_refused",
        SETTLE,
        "OR p_attempt.state IN ('SETTLED', 'VOIDED') AND p_attempt.usage IS NULL)",
        "OR false)",
        f"{RECONCILIATION}::test_an_answer_that_says_other_than_the_look_up_is_booked_at_its_own_figure",
    ),
    mutant(
        "freed_money_spent_twice",
        SETTLE,
        "CASE WHEN v_is_resolved THEN correction_overrun(p_attempt, v_amount, p_cost)",
        "CASE WHEN v_is_resolved THEN 0",
        f"{RECONCILIATION}::test_L1_an_answer_whose_hold_was_freed_by_a_false_look_up_is_an_overrun_and_freezes",
    ),
    mutant(
        "cancelling_locks_its_answers_only",
        SETTLE,
        "AND state IN ('ANSWERED', 'RESERVED')",
        "AND state IN ('ANSWERED')",
        f"{CONCURRENCY}::test_L23_a_cancellation_and_a_settlement_over_a_months_turn_wait_for_each_other_in_one_order",
    ),
    mutant(
        "hold_by_what_a_caller_says",
        AUTHORIZE,
        "greatest(v_ask.max_tokens, tokens_asked(v_ask.endpoint, v_ask.request_body))",
        "v_ask.max_tokens",
        f"{PROTOCOL}::test_L2_the_hold_covers_the_body_that_is_sent_whatever_a_caller_says_of_it",
    ),
    mutant(
        "kept_body_lost",
        OUTCOME,
        "answer_body = coalesce(p_body, answer_body)",
        "answer_body = p_body",
        f"{PROTOCOL}::test_L7_what_came_of_an_unknown_answer_is_kept_whatever_is_reported_later",
    ),
    mutant(
        "alert_of_the_other_scope",
        ALERTS,
        "IS NOT DISTINCT FROM 'month');",
        "IS NOT NULL);",
        f"{PLAN_TESTS}::test_a_refusal_by_one_scope_is_no_alert_of_the_other",
    ),
    mutant(
        "turned_for_ever",
        AUTHORIZE,
        "AND slot = p_ask.slot AND claim = p_ask.claim\n            AND downgraded_from",
        "AND slot = p_ask.slot\n            AND downgraded_from",
        f"{PLAN_TESTS}::test_a_turned_slot_turns_no_other_and_no_later_claim",
    ),
    mutant(
        "margin_by_the_first_price",
        PLANS,
        "WHERE plan_key = p_plan_key AND at < p_at ORDER BY at DESC LIMIT 1",
        "WHERE plan_key = p_plan_key AND at < p_at ORDER BY at LIMIT 1",
        f"{REPORT_TESTS}::test_of_several_changes_in_a_month_the_last_one_counts",
    ),
    mutant(
        "articles_that_failed_share_the_cost",
        REPORTS,
        "AND articles.accepted_revision IS NOT NULL",
        "",
        f"{REPORT_TESTS}::test_an_articles_cost_is_shared_by_those_that_passed",
    ),
    mutant(
        "an_article_costs_what_all_do",
        "domain/forecast.py",
        "article_worst_usd=_sum(line.worst_usd for line in written) / articles",
        "article_worst_usd=_sum(line.worst_usd for line in written)",
        f"{FORECAST_UNIT}::test_an_article_is_its_share_of_the_worst_too",
    ),
    mutant(
        "wait_without_a_bound",
        "workflows/paid_calls.py",
        "base = min(max(outcome.retry_after_seconds, 0.0), RETRY_AFTER_SECONDS_MAX)",
        "base = max(outcome.retry_after_seconds, 0.0)",
        f"{CALLS_UNIT}::test_a_wait_is_the_providers_within_bounds_or_grows",
    ),
    mutant(
        "dead_calls_outlive_their_row",
        "activities/state.py",
        "    await _give_up_on_dead_calls(connection, ref)\n",
        "",
        f"{PROTOCOL}::test_L22_a_row_closed_by_itself_books_answers_and_gives_up_on_calls_of_dead_workers",
    ),
    mutant(
        "redo_again_is_another",
        "activities/state.py",
        "            if not replayed:\n                await articles.begin_revision",
        "            if True:\n                await articles.begin_revision",
        f"{PIPELINE}::test_a_redo_that_is_carried_out_again_begins_no_further_revision",
    ),
    mutant(
        "zombie_publishes",
        PUBLICATIONS,
        "WHERE publication_id = $1 AND attempt_id = $2",
        "WHERE publication_id = $1 AND $2::uuid IS NOT NULL",
        f"{PUBLICATION_TESTS}::test_only_the_newest_attempt_may_have_effects",
    ),
    mutant(
        "last_publisher_wins",
        PUBLICATIONS,
        "CASE WHEN external_id IS NOT DISTINCT FROM $3 THEN $2",
        "CASE WHEN $3::text IS NULL OR external_id IS NOT DISTINCT FROM $3 THEN $2",
        f"{PUBLICATION_TESTS}::test_of_several_publishers_the_first_ones_post_is_recorded",
    ),
    mutant(
        "late_answer_undoes_the_taking_back",
        PUBLICATIONS,
        "WHERE publication_id = $1 AND state NOT IN ('UNPUBLISHING', 'UNPUBLISHED')",
        "WHERE publication_id = $1",
        f"{PUBLICATION_TESTS}::test_an_answer_that_comes_after_it_was_taken_back_changes_nothing",
    ),
    mutant(
        "ended_just_now_started_again",
        RECONCILER,
        "(_is_open(last) or self._ended_just_now(last))",
        "_is_open(last)",
        f"{MAINTENANCE}::test_a_run_that_ended_just_now_is_not_started_again_yet",
    ),
    mutant(
        "young_run_cancelled",
        RECONCILER,
        "return None if self._is_recent(run.start_time) else await self._end_run(run, None)",
        "return await self._end_run(run, None)",
        f"{MAINTENANCE}::test_a_run_that_began_just_now_may_be_ahead_of_its_row",
    ),
)

# The bench's own checkers, blinded.
CHECKER_MUTANTS = tuple(
    mutant(name, CHECKERS, old, new, CHECKER_TESTS)
    for name, old, new in (
        ("answered_may_be_left", '{"RESERVED", "DISPATCHED", "ANSWERED"}', '{"RESERVED", "DISPATCHED"}'),
        ("unknown_may_be_left", "if not may_be_unknown:", "if False:"),
        ("hold_below_the_bill", 'if attempt["hold_usd"] < charged:', "if False:"),
        ("write_off_below_the_bill", "if (booked or ZERO) < charged:", "if False:"),
        ("counters_not_compared", "    await _check_counters(findings, admin)\n", ""),
        ("double_settlement_unseen", 'if row["settlements"] != 1:', "if False:"),
        ("illegal_edge_unseen", "not in LEGAL_TRANSITIONS]", "is None]"),
        ("state_of_the_row_unseen", "return None if reached[-1] == state else", "return None if reached else"),
        ("missing_page_unseen", "out[place] <= pages[place] <= begun[place]", "pages[place] <= begun[place]"),
        ("second_page_unseen", "out[place] <= pages[place] <= begun[place]", "out[place] <= pages[place]"),
        ("stray_page_unseen", "sorted(pages | begun)", "sorted(begun)"),
        ("pages_of_any_run", 'page.parent.name.rpartition("-")[2], page.stem', '"", page.stem'),
    )
)

# A worker that was stopped and wakes when others have gone on.
LATE_MUTANTS = (
    mutant(
        "replayed_block_judges_the_clusters_again",
        "activities/validation.py",
        "if await block_with(connection, claim, blocked):",
        "if await block_with(connection, claim, blocked) is not None:",
        "tests/integration/test_lost_claims.py",
    ),
    mutant(
        "late_result_stored",
        PUBLICATIONS,
        "state NOT IN ('UNPUBLISHING', 'UNPUBLISHED') AND attempt_id = $6",
        "state NOT IN ('UNPUBLISHING', 'UNPUBLISHED') AND $6::uuid IS NOT NULL",
        LATE_PUBLISHING,
    ),
    mutant(
        "late_page_written",
        "providers/publisher.py",
        "                await record.check()\n            return await _to_its_end(_write_article, request, folder)",
        "                pass\n            return await _to_its_end(_write_article, request, folder)",
        LATE_PUBLISHING,
    ),
)

MUTANTS = (
    *STATE_MUTANTS, *AUTHORIZING_MUTANTS, *CALLING_MUTANTS, *AMOUNT_MUTANTS, *TENANT_MUTANTS, *PROVIDER_MUTANTS,
    *OPERATING_MUTANTS, *LATER_MUTANTS, *CHECKER_MUTANTS, *LATE_MUTANTS,
)  # fmt: skip
