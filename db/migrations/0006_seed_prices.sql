-- US dollars per million tokens and per request, as the providers list them. `perplexity/sonar` charges a fee for each
-- request beside its tokens. Rows are found by a model's canonical name; every other name must be an exact alias.

INSERT INTO model_prices (price_id, model, input_usd_per_million, cached_input_usd_per_million, output_usd_per_million,
    usd_per_request, usd_per_search, effective_from)
VALUES
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c01', 'perplexity/sonar', 1, 1, 1, 0.005, 0, '2025-01-01T00:00:00Z'),
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c02', 'openai/gpt-4o-mini', 0.15, 0.075, 0.60, 0, 0, '2025-01-01T00:00:00Z'),
    ('9f0c8d4e-55f1-4f0e-9a57-0a1f7b1f3c03', 'openai/text-embedding-3-small', 0.02, 0.02, 0, 0, 0,
        '2025-01-01T00:00:00Z');

INSERT INTO model_aliases (alias, model)
VALUES
    ('sonar', 'perplexity/sonar'),
    ('gpt-4o-mini', 'openai/gpt-4o-mini'),
    ('gpt-4o-mini-2024-07-18', 'openai/gpt-4o-mini'),
    ('openai/gpt-4o-mini-2024-07-18', 'openai/gpt-4o-mini'),
    ('text-embedding-3-small', 'openai/text-embedding-3-small');
