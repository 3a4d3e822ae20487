"""Which account of keyword data counts: the sandbox's figures for runs of the sandbox, an account's for all others."""

from typing import Any

import pytest
from pydantic import SecretStr

from config import KEYWORD_DATA_URL, Settings
from domain.errors import ConfigurationError

SANDBOX = "http://127.0.0.1:9"
ACCOUNT = {"keyword_data_login": SecretStr("me@company.example"), "keyword_data_password": SecretStr("pass-word")}


def settings(**given: Any) -> Settings:
    keys: dict[str, Any] = {"llm_api_key": None, "OPENROUTER_API_KEY": None, "OPENAI_API_KEY": None}
    return Settings(_env_file=None, **{**keys, **given})


def is_enabled(found: Settings) -> bool:
    return found.step_settings(auto_approve_seeds=False).competitor.keyword_data.is_enabled


def test_an_account_is_used_where_the_models_are_an_accounts() -> None:
    found = settings(OPENROUTER_API_KEY=SecretStr("key"), **ACCOUNT)
    assert found.keyword_data_account is not None
    assert found.keyword_data_account.url == KEYWORD_DATA_URL
    assert found.keyword_data_account.login.get_secret_value() == "me@company.example"
    assert is_enabled(found)


def test_without_an_account_nothing_is_asked() -> None:
    found = settings(OPENROUTER_API_KEY=SecretStr("key"))
    assert found.keyword_data_account is None
    assert not is_enabled(found)
    assert not is_enabled(settings(OPENROUTER_API_KEY=SecretStr("key"), keyword_data_demo=True))


@pytest.mark.parametrize("demo", [False, True])
def test_a_run_of_the_sandbox_never_reaches_an_account(demo: bool) -> None:
    found = settings(sandbox_url=SANDBOX, keyword_data_demo=demo, **ACCOUNT)
    account = found.keyword_data_account
    assert account is not None
    assert account.url == f"{SANDBOX}/v3"
    assert account.password.get_secret_value() == "sandbox"
    assert is_enabled(found) is demo


def test_an_accounts_run_never_shows_the_sandboxs_figures() -> None:
    beside = settings(sandbox_url=SANDBOX, OPENROUTER_API_KEY=SecretStr("key"))
    assert beside.keyword_data_account is None
    mixed = settings(
        sandbox_url=SANDBOX, OPENROUTER_API_KEY=SecretStr("key"), keyword_data_url=f"{SANDBOX}/v3", **ACCOUNT
    )
    with pytest.raises(ConfigurationError, match="its figures are invented"):
        _ = mixed.keyword_data_account


@pytest.mark.parametrize("name", sorted(ACCOUNT))
def test_half_an_account_is_refused_before_anything_starts(name: str) -> None:
    found = settings(OPENROUTER_API_KEY=SecretStr("key"), **{**ACCOUNT, name: SecretStr("")})
    with pytest.raises(ConfigurationError, match=r"needs both .* one is missing"):
        found.step_settings(auto_approve_seeds=False)


def test_the_account_is_kept_out_of_logs_and_is_no_models_key() -> None:
    found = settings(**ACCOUNT)
    assert {secret.get_secret_value() for secret in found.secrets} == {"me@company.example", "pass-word"}
    assert found.account_key is None
    assert "pass-word" not in repr(found)
