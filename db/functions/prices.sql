-- Prices are added, never changed: a later one ends the one that runs, in the same transaction. The operator's role
-- alone may.

-- Adds one price; p_price: JSON with model, the five rates and effective_from (null: now). The same price again changes
-- nothing. A price that is not in force yet and was never used may be replaced until a minute before its time.
CREATE OR REPLACE FUNCTION add_model_price(
    p_price jsonb, p_actor text, OUT price_id uuid, OUT outcome text, OUT ended_price_id uuid,
    OUT effective_from timestamptz, OUT effective_until timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_new model_prices := jsonb_populate_record(NULL::model_prices, p_price);
    v_same model_prices;
    v_running model_prices;
    v_is_replaced boolean := false;
BEGIN
    -- Lets authorizations pass, and no second one who adds.
    LOCK TABLE model_prices IN SHARE ROW EXCLUSIVE MODE;
    IF canonical_model(v_new.model) <> v_new.model THEN
        RAISE EXCEPTION '% is an alias of %: give the price to that name', v_new.model, canonical_model(v_new.model)
            USING ERRCODE = 'IN004', DETAIL = '{"field": "model"}';
    END IF;
    v_running := price_at(v_new.model, coalesce(v_new.effective_from, now()));
    IF v_running.effective_from = v_new.effective_from
        OR (v_new.effective_from IS NULL AND same_rates(v_running, v_new)) THEN
        v_same := v_running;
        v_running := NULL;
    END IF;
    v_new.effective_from := coalesce(v_new.effective_from, now());

    IF v_same.price_id IS NOT NULL AND same_rates(v_same, v_new) THEN
        SELECT v_same.price_id, 'existing', v_same.effective_from, v_same.effective_until
        INTO price_id, outcome, effective_from, effective_until;
        RETURN;
    END IF;
    IF v_same.price_id IS NOT NULL THEN
        BEGIN
            DELETE FROM model_prices AS price
            WHERE price.price_id = v_same.price_id AND price.effective_from > now() + interval '1 minute';
            v_is_replaced := FOUND;
        EXCEPTION WHEN foreign_key_violation THEN
            NULL; -- used, by whatever organization
        END;
        IF NOT v_is_replaced THEN
            RAISE EXCEPTION '% has another price from % already, and it is in force or used: choose a later time',
                v_new.model, utc_text(v_same.effective_from)
                USING ERRCODE = 'IN004', DETAIL = '{"field": "effective_from"}';
        END IF;
        PERFORM note_price_change(v_same, 'replaced', v_same.effective_from, p_actor);
    END IF;
    IF v_running.price_id IS NOT NULL THEN
        IF v_new.effective_from < now() THEN
            RAISE EXCEPTION '% has a price since % that calls may have used: effective_from % is past, choose a time to come',
                v_new.model, utc_text(v_running.effective_from), utc_text(v_new.effective_from)
                USING ERRCODE = 'IN004', DETAIL = '{"field": "effective_from"}';
        END IF;
        UPDATE model_prices AS price SET effective_until = v_new.effective_from
        WHERE price.price_id = v_running.price_id;
        PERFORM note_price_change(v_running, 'ended', v_new.effective_from, p_actor);
    END IF;

    v_new.price_id := gen_random_uuid();
    SELECT min(price.effective_from) INTO v_new.effective_until FROM model_prices AS price
    WHERE price.model = v_new.model AND price.effective_from > v_new.effective_from;
    INSERT INTO model_prices (price_id, model, input_usd_per_million, cached_input_usd_per_million,
        output_usd_per_million, usd_per_request, usd_per_search, effective_from, effective_until)
    VALUES (v_new.price_id, v_new.model, v_new.input_usd_per_million, v_new.cached_input_usd_per_million,
        v_new.output_usd_per_million, v_new.usd_per_request, v_new.usd_per_search, v_new.effective_from,
        v_new.effective_until);
    PERFORM note_price_change(v_new, 'added', v_new.effective_from, p_actor);
    SELECT v_new.price_id, CASE WHEN v_is_replaced THEN 'replaced' ELSE 'added' END, v_running.price_id,
        v_new.effective_from, v_new.effective_until
    INTO price_id, outcome, ended_price_id, effective_from, effective_until;
END
$$;

CREATE OR REPLACE FUNCTION note_price_change(
    p_price model_prices, p_action text, p_effective_from timestamptz, p_actor text
) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO price_changes (price_id, model, action, effective_from, actor)
    VALUES (p_price.price_id, p_price.model, p_action, p_effective_from, p_actor)
$$;

CREATE OR REPLACE FUNCTION same_rates(p_one model_prices, p_other model_prices) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT (p_one.input_usd_per_million, p_one.cached_input_usd_per_million, p_one.output_usd_per_million,
            p_one.usd_per_request, p_one.usd_per_search)
        IS NOT DISTINCT FROM
           (p_other.input_usd_per_million, p_other.cached_input_usd_per_million, p_other.output_usd_per_million,
            p_other.usd_per_request, p_other.usd_per_search)
$$;

CREATE OR REPLACE FUNCTION utc_text(p_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = public, pg_temp AS $$
    SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
$$;

-- Adds a name that a provider gives a model; true when it is new. A name stands for one model for ever.
CREATE OR REPLACE FUNCTION add_model_alias(p_alias text, p_model text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_known text;
BEGIN
    LOCK TABLE model_aliases IN SHARE ROW EXCLUSIVE MODE;
    SELECT model INTO v_known FROM model_aliases WHERE alias = p_alias;
    IF v_known = p_model THEN
        RETURN false;
    END IF;
    IF v_known IS NOT NULL THEN
        RAISE EXCEPTION '% stands for % already, and what was booked under it keeps that name', p_alias, v_known
            USING ERRCODE = 'IN004', DETAIL = '{"field": "aliases"}';
    END IF;
    IF EXISTS (SELECT FROM model_prices WHERE model = p_alias) THEN
        RAISE EXCEPTION '% has prices of its own and can''t stand for %', p_alias, p_model
            USING ERRCODE = 'IN004', DETAIL = '{"field": "aliases"}';
    END IF;
    IF NOT EXISTS (SELECT FROM model_prices WHERE model = p_model) THEN
        RAISE EXCEPTION '% has no price: an alias needs a model with one', p_model
            USING ERRCODE = 'IN004', DETAIL = '{"field": "model"}';
    END IF;
    INSERT INTO model_aliases (alias, model, added_by) VALUES (p_alias, p_model, p_actor);
    RETURN true;
END
$$;

GRANT EXECUTE ON FUNCTION add_model_price, add_model_alias TO infin8_operator;
