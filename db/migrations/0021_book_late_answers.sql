-- What an attempt was resolved to without an answer stays open to one: a cut body that was kept gives way to the whole one
-- while there is no usage, and an attempt that the provider called free is settled when its answer says otherwise.

CREATE OR REPLACE FUNCTION guard_spend_attempt() RETURNS trigger
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
        ('WRITTEN_OFF', 'SETTLED'), ('VOIDED', 'SETTLED')
    ) OR OLD.state = 'VOIDED' AND NEW.state = 'SETTLED' AND OLD.dispatched_at IS NULL THEN
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
        OR (OLD.usage IS NOT NULL AND OLD.answer_body IS NOT NULL AND NEW.answer_body IS DISTINCT FROM OLD.answer_body)
        OR (OLD.rejected_reason IS NOT NULL AND NEW.rejected_reason IS DISTINCT FROM OLD.rejected_reason)
    ) THEN
        RAISE EXCEPTION 'attempt %: a stored answer and its judgement never change', OLD.attempt_id
            USING ERRCODE = '23000', CONSTRAINT = 'attempt_answer_is_final';
    END IF;
    RETURN NEW;
END
$$;
