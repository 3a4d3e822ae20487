-- Paid requests that are no chat completions: embeddings, and a keyword data provider. They live the same life as any
-- other attempt; what differs is what bounds their cost and who sends them, and that is the attempt's endpoint.

ALTER TABLE spend_attempts
    ADD COLUMN endpoint text NOT NULL DEFAULT 'chat'
        CONSTRAINT attempt_endpoint_known CHECK (endpoint IN ('chat', 'embeddings', 'keyword_data'));
COMMENT ON COLUMN spend_attempts.endpoint IS 'what kind of request it is: how its cost is bounded and which adapter sends it';

CREATE FUNCTION guard_endpoint() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'attempt %: what was authorized never changes (the endpoint it goes to)', OLD.attempt_id
        USING ERRCODE = '23000', CONSTRAINT = 'attempt_authorization_is_final';
END
$$;
CREATE TRIGGER attempt_endpoint_is_final BEFORE UPDATE ON spend_attempts FOR EACH ROW
    WHEN (NEW.endpoint IS DISTINCT FROM OLD.endpoint) EXECUTE FUNCTION guard_endpoint();

-- What providers bill by the piece, beside tokens: a search of a model that searches, a row of a keyword data provider.
COMMENT ON COLUMN model_prices.usd_per_search IS 'per search that a model makes; per row that a keyword data provider returns';
COMMENT ON COLUMN spend_attempts.searches IS 'most searches the model may make; most rows the keyword data provider may return';
COMMENT ON COLUMN ai_usage_ledger.searches IS 'searches made, or rows returned';

-- DataForSEO Labs bills each request and each row that it returns; a "model" of this provider is an endpoint.
INSERT INTO model_prices (price_id, model, input_usd_per_million, cached_input_usd_per_million, output_usd_per_million,
    usd_per_request, usd_per_search, effective_from)
VALUES
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c11', 'dataforseo/keywords_for_site', 0, 0, 0, 0.01, 0.0001,
        '2025-01-01T00:00:00Z'),
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c12', 'dataforseo/related_keywords', 0, 0, 0, 0.01, 0.0001,
        '2025-01-01T00:00:00Z'),
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c13', 'dataforseo/keyword_suggestions', 0, 0, 0, 0.01, 0.0001,
        '2025-01-01T00:00:00Z'),
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c14', 'dataforseo/bulk_keyword_difficulty', 0, 0, 0, 0.01, 0.0001,
        '2025-01-01T00:00:00Z');

-- Crawled keyphrases stay as they were extracted; what a provider adds is made from them anew each time it is asked.
ALTER TABLE seed_candidates
    ADD COLUMN merged jsonb,
    ADD COLUMN notes jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN seed_candidates.merged IS 'the keyphrases with what a keyword data provider said; null where none was asked';
COMMENT ON COLUMN seed_candidates.notes IS 'what the provider could not be asked or did not answer, as reasons of the step''s verdict';
