-- The money tables refuse what the protocol does not allow, whoever writes: an attempt follows its graph and keeps
-- what was authorized, a hold resolves once, no scope passes its cap but by a recorded overrun.

-- NUMERIC knows a NaN that is greater than every number: as a cap it would let everything pass.
ALTER TABLE plans ADD CONSTRAINT plan_caps_are_numbers CHECK (workflow_cap_usd < 'NaN' AND month_cap_usd < 'NaN');

ALTER TABLE intent_workflows
    ADD COLUMN authorized_cap_usd numeric(20, 9),
    ADD CONSTRAINT workflow_cap_is_a_number CHECK (cap_usd < 'NaN'),
    ADD CONSTRAINT workflow_overrun_not_negative CHECK (overrun_usd >= 0),
    ADD CONSTRAINT workflow_within_cap CHECK (spent_usd + held_usd <= coalesce(authorized_cap_usd, 0) + overrun_usd);
COMMENT ON COLUMN intent_workflows.authorized_cap_usd IS 'the cap in force when an attempt was last authorized';

ALTER TABLE organization_months
    ADD CONSTRAINT month_overrun_not_negative CHECK (overrun_usd >= 0),
    ADD CONSTRAINT month_within_cap CHECK (spent_usd + held_usd <= coalesce(cap_usd, 0) + overrun_usd);

-- Attempts ----------------------------------------------------------------------------------------------------

-- With the organization in the keys, using another tenant's UUID tells nothing about it and can't stand in its way.
ALTER TABLE ai_usage_ledger
    DROP CONSTRAINT ledger_belongs_to_attempt,
    DROP CONSTRAINT ledger_settles_once,
    ADD CONSTRAINT ledger_settles_once UNIQUE (idempotency_key, organization_id);
ALTER TABLE spend_attempts
    DROP CONSTRAINT attempt_identity_unique,
    DROP CONSTRAINT spend_attempts_pkey,
    ADD PRIMARY KEY (attempt_id, organization_id);
ALTER TABLE ai_usage_ledger ADD CONSTRAINT ledger_belongs_to_attempt FOREIGN KEY (attempt_id, organization_id)
    REFERENCES spend_attempts (attempt_id, organization_id);

ALTER TABLE spend_attempts
    ALTER COLUMN price_id DROP NOT NULL,
    ADD COLUMN message_count integer NOT NULL,
    ADD COLUMN max_tokens integer NOT NULL,
    ADD COLUMN searches integer NOT NULL,
    ADD COLUMN call_deadline_seconds double precision NOT NULL,
    ADD COLUMN answered_model text,
    ADD COLUMN finish_reason text,
    ADD CONSTRAINT attempt_belongs_to_month FOREIGN KEY (organization_id, month)
        REFERENCES organization_months (organization_id, month),
    ADD CONSTRAINT attempt_limits_not_negative CHECK (message_count >= 0 AND max_tokens >= 0 AND searches >= 0),
    ADD CONSTRAINT attempt_refusal_has_figures CHECK ((state = 'REFUSED') = (refusal IS NOT NULL)),
    ADD CONSTRAINT attempt_has_a_price CHECK (state = 'REFUSED' OR price_id IS NOT NULL),
    ADD CONSTRAINT attempt_overrun_not_negative CHECK (overrun_usd >= 0),
    ADD CONSTRAINT attempt_answer_is_stored CHECK (state <> 'ANSWERED' OR usage IS NOT NULL);
COMMENT ON COLUMN spend_attempts.model IS 'canonical name of the model that was asked; answered_model is as the answer said';
COMMENT ON COLUMN spend_attempts.price_id IS 'the price row of the hold; null only where no price was known';

CREATE INDEX spend_attempts_with_open_hold ON spend_attempts (organization_id, state)
    WHERE state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN');

CREATE FUNCTION guard_spend_attempt() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
        RAISE EXCEPTION 'attempts are the record of every paid request: % is refused', TG_OP
            USING ERRCODE = '23000', CONSTRAINT = 'attempts_stay';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('RESERVED', 'REFUSED') THEN
            RAISE EXCEPTION 'attempt % can''t begin as %: authorize it', NEW.attempt_id, NEW.state
                USING ERRCODE = '23000', CONSTRAINT = 'attempt_follows_its_graph';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('RESERVED', 'DISPATCHED'), ('RESERVED', 'VOIDED'), ('RESERVED', 'EXPIRED'),
        ('DISPATCHED', 'ANSWERED'), ('DISPATCHED', 'NOT_BILLED'), ('DISPATCHED', 'UNKNOWN'),
        ('ANSWERED', 'SETTLED'),
        ('UNKNOWN', 'ANSWERED'), ('UNKNOWN', 'WRITTEN_OFF'), ('UNKNOWN', 'VOIDED'),
        ('WRITTEN_OFF', 'SETTLED')
    ) THEN
        RAISE EXCEPTION 'attempt % can''t go from % to %', OLD.attempt_id, OLD.state, NEW.state
            USING ERRCODE = '23000', CONSTRAINT = 'attempt_follows_its_graph';
    END IF;
    IF (NEW.attempt_id, NEW.workflow_id, NEW.organization_id, NEW.step, NEW.slot, NEW.claim, NEW.ask, NEW.month,
        NEW.slot_hash, NEW.model, NEW.path, NEW.request_body, NEW.message_count, NEW.max_tokens, NEW.searches,
        NEW.price_id, NEW.hold_usd, NEW.refusal, NEW.authorized_at, NEW.expires_at, NEW.call_deadline_seconds)
        IS DISTINCT FROM
       (OLD.attempt_id, OLD.workflow_id, OLD.organization_id, OLD.step, OLD.slot, OLD.claim, OLD.ask, OLD.month,
        OLD.slot_hash, OLD.model, OLD.path, OLD.request_body, OLD.message_count, OLD.max_tokens, OLD.searches,
        OLD.price_id, OLD.hold_usd, OLD.refusal, OLD.authorized_at, OLD.expires_at, OLD.call_deadline_seconds) THEN
        RAISE EXCEPTION 'attempt %: what was authorized never changes (request, price, hold, month)', OLD.attempt_id
            USING ERRCODE = '23000', CONSTRAINT = 'attempt_authorization_is_final';
    END IF;
    IF OLD.state IN ('ANSWERED', 'SETTLED') AND (
        (OLD.usage IS NOT NULL AND NEW.usage IS DISTINCT FROM OLD.usage)
        OR (OLD.answer_body IS NOT NULL AND NEW.answer_body IS DISTINCT FROM OLD.answer_body)
        OR (OLD.rejected_reason IS NOT NULL AND NEW.rejected_reason IS DISTINCT FROM OLD.rejected_reason)
    ) THEN
        RAISE EXCEPTION 'attempt %: a stored answer and its judgement never change', OLD.attempt_id
            USING ERRCODE = '23000', CONSTRAINT = 'attempt_answer_is_final';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER attempt_follows_its_graph BEFORE INSERT OR UPDATE OR DELETE ON spend_attempts
    FOR EACH ROW EXECUTE FUNCTION guard_spend_attempt();
CREATE TRIGGER attempts_stay BEFORE TRUNCATE ON spend_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION guard_spend_attempt();

-- An ask that was given a settled answer of an earlier claim: no request, so no attempt.
CREATE TABLE spend_reuses (
    attempt_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    step text NOT NULL,
    slot text NOT NULL,
    claim bigint NOT NULL,
    ask integer NOT NULL,
    reused_attempt_id uuid NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (attempt_id, organization_id),
    CONSTRAINT reuse_ask_unique UNIQUE (workflow_id, step, slot, claim, ask),
    CONSTRAINT reuse_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT reuse_names_an_attempt FOREIGN KEY (reused_attempt_id, organization_id)
        REFERENCES spend_attempts (attempt_id, organization_id)
);
COMMENT ON TABLE spend_reuses IS 'decisions to hand a paid answer out again; attempt_id is the UUID of the ask';
SELECT protect_tenant_table('spend_reuses');

-- What was decided about one ask: AUTHORIZED, REFUSED or REUSED. goes_on_with is the attempt to go on with.
CREATE TYPE spend_decision AS (attempt_id uuid, kind text, goes_on_with uuid, hold_usd numeric(20, 9), refusal jsonb);

-- Ledger ------------------------------------------------------------------------------------------------------

ALTER TABLE ai_usage_ledger
    ADD CONSTRAINT ledger_cost_is_a_number CHECK (cost < 'NaN'),
    ADD CONSTRAINT ledger_tokens_not_negative
        CHECK (prompt_tokens >= 0 AND cached_tokens >= 0 AND completion_tokens >= 0),
    ADD COLUMN searches bigint NOT NULL DEFAULT 0 CONSTRAINT ledger_searches_not_negative CHECK (searches >= 0),
    ADD CONSTRAINT ledger_belongs_to_month FOREIGN KEY (organization_id, month)
        REFERENCES organization_months (organization_id, month),
    ADD CONSTRAINT ledger_corrects_a_row FOREIGN KEY (corrects, organization_id)
        REFERENCES ai_usage_ledger (idempotency_key, organization_id);
CREATE INDEX ledger_by_attempt ON ai_usage_ledger (attempt_id);

-- Prices ------------------------------------------------------------------------------------------------------

ALTER TABLE model_prices ADD CONSTRAINT price_is_a_number CHECK (input_usd_per_million < 'NaN'
    AND cached_input_usd_per_million < 'NaN' AND output_usd_per_million < 'NaN' AND usd_per_request < 'NaN'
    AND usd_per_search < 'NaN');

-- Periods of one model never overlap. A model's name takes part as the range of its hash, because GiST compares
-- text with an extension only; two names with one hash would merely be kept apart as if they were one model.
ALTER TABLE model_prices ADD CONSTRAINT price_periods_do_not_overlap EXCLUDE USING gist (
    int8range(hashtextextended(model, 0), hashtextextended(model, 0), '[]') WITH &&,
    tstzrange(effective_from, effective_until) WITH &&
);

-- Immutable from the first, used or not: a mistake in an unused row is deleted and inserted anew, and the foreign keys
-- of attempts and ledger refuse to delete a used one.
CREATE FUNCTION guard_model_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (NEW.price_id, NEW.model, NEW.input_usd_per_million, NEW.cached_input_usd_per_million,
        NEW.output_usd_per_million, NEW.usd_per_request, NEW.usd_per_search, NEW.effective_from)
        IS DISTINCT FROM
       (OLD.price_id, OLD.model, OLD.input_usd_per_million, OLD.cached_input_usd_per_million,
        OLD.output_usd_per_million, OLD.usd_per_request, OLD.usd_per_search, OLD.effective_from)
        OR coalesce(OLD.effective_until, 'infinity') <= now()
        OR coalesce(NEW.effective_until, 'infinity') < now() THEN
        RAISE EXCEPTION 'price % of % never changes: end its period, not in the past, and add a new row',
            OLD.price_id, OLD.model USING ERRCODE = '23000', CONSTRAINT = 'price_is_immutable';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER price_is_immutable BEFORE UPDATE ON model_prices
    FOR EACH ROW EXECUTE FUNCTION guard_model_price();
