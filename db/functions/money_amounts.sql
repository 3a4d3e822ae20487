-- The one rounding rule, as in domain/money.py: up to the next nano-dollar, in the house's favour. Multiplied, because
-- NUMERIC's division cuts digits off.
CREATE OR REPLACE FUNCTION round_up_usd(p_amount numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = public, pg_temp AS $$
    SELECT (ceil(p_amount * 1000000000) * 0.000000001)::numeric(20, 9)
$$;

-- As format_usd in domain/money.py: at least two decimals, no further trailing zeros.
CREATE OR REPLACE FUNCTION usd_text(p_amount numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = public, pg_temp AS $$
    SELECT (CASE WHEN scale(trim_scale(p_amount)) < 2 THEN round(p_amount, 2) ELSE trim_scale(p_amount) END)::text
$$;

-- First day of the month, in UTC whatever the session's time zone, that a moment belongs to.
CREATE OR REPLACE FUNCTION spend_month(p_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = public, pg_temp AS $$
    SELECT date_trunc('month', p_at AT TIME ZONE 'UTC')::date
$$;

CREATE OR REPLACE FUNCTION canonical_model(p_model text) RETURNS text
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce((SELECT model FROM model_aliases WHERE alias = p_model), p_model)
$$;

-- The price row in force for a canonical model name; NULL when there is none.
CREATE OR REPLACE FUNCTION price_at(p_model text, p_at timestamptz) RETURNS model_prices
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT price FROM model_prices AS price
    WHERE price.model = p_model AND price.effective_from <= p_at
        AND (price.effective_until IS NULL OR p_at < price.effective_until)
$$;

-- The most the provider can bill for the request as it will be sent (hold_for in domain/money.py).
CREATE OR REPLACE FUNCTION request_hold(
    p_price model_prices, p_request_body text, p_message_count integer, p_max_tokens integer, p_searches integer
) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT round_up_usd(
        (
            (octet_length(convert_to(p_request_body, 'UTF8')) + 16 * p_message_count + 64)
                * greatest(p_price.input_usd_per_million, p_price.cached_input_usd_per_million)
            + p_max_tokens * p_price.output_usd_per_million
        ) * 0.000001
        + p_price.usd_per_request + p_searches * p_price.usd_per_search
    )
$$;

-- What a usage costs by a price row (computed_cost in domain/money.py); NULL without a price.
CREATE OR REPLACE FUNCTION usage_cost(p_price model_prices, p_usage jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT round_up_usd(
        (
            (used.prompt_tokens - used.cached_tokens) * p_price.input_usd_per_million
            + used.cached_tokens * p_price.cached_input_usd_per_million
            + used.completion_tokens * p_price.output_usd_per_million
        ) * 0.000001
        + p_price.usd_per_request + used.searches * p_price.usd_per_search
    )
    FROM (
        SELECT
            (p_usage ->> 'prompt_tokens')::numeric AS prompt_tokens,
            least((p_usage ->> 'cached_tokens')::numeric, (p_usage ->> 'prompt_tokens')::numeric) AS cached_tokens,
            (p_usage ->> 'completion_tokens')::numeric AS completion_tokens,
            (p_usage ->> 'searches')::numeric AS searches
    ) AS used
$$;

-- A usage in the one form it is stored in, so that two can be compared; amounts are strings in JSON.
CREATE OR REPLACE FUNCTION usage_facts(
    p_prompt_tokens bigint, p_completion_tokens bigint, p_cached_tokens bigint, p_searches bigint, p_cost numeric
) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF least(p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_searches) < 0
        OR p_prompt_tokens IS NULL OR p_completion_tokens IS NULL OR p_cost < 0 OR p_cost = 'NaN' THEN
        RAISE EXCEPTION 'a usage needs token counts and no figure below 0: prompt %, completion %, cached %, searches %, cost %',
            p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_searches, p_cost
            USING ERRCODE = 'IN004', DETAIL = '{"field": "usage"}';
    END IF;
    RETURN jsonb_build_object(
        'prompt_tokens', p_prompt_tokens, 'completion_tokens', p_completion_tokens,
        'cached_tokens', coalesce(p_cached_tokens, 0), 'searches', coalesce(p_searches, 0),
        'cost_usd', usd_text(round_up_usd(p_cost)));
END
$$;

GRANT EXECUTE ON FUNCTION canonical_model, price_at TO infin8_app, infin8_operator;

-- Read-only, for whoever forecasts or recomputes.
GRANT EXECUTE ON FUNCTION round_up_usd, usd_text, spend_month, canonical_model, price_at, request_hold, usage_cost
    TO infin8_app, infin8_operator;
