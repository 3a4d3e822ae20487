"""Settings, read by ``worker.py`` and ``starter.py`` and by nobody else.

Everything comes from environment variables ``INFIN8_*`` or a file ``.env``; nested values join their names with two
underscores (``INFIN8_TIMEOUTS__HEARTBEAT_SECONDS=1``). Addresses that are not set are taken from the local stack that
runs over the state folder, if one does.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import ConfigurationError
from domain.language import Route
from domain.reconciliation import ReconcileSettings
from domain.settings import ActivityTimeouts, CompetitorSettings, Embeddings, StepSettings, with_embeddings
from domain.wordpress import WordPressSite, WordPressSites, checked_site, parse_sites

OPENROUTER_URL = "https://openrouter.ai/api/v1"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODELS = ("gpt-4o-mini",)
SANDBOX_KEY = "sandbox"
SANDBOX_SUFFIX = ".example"
EMBEDDINGS_MODEL = "openai/text-embedding-3-small"
KEYWORD_DATA_URL = "https://api.dataforseo.com/v3"


class EmbeddingChoice(StrEnum):
    """``auto`` is ``local`` where the process that starts a workflow has the model, else ``none``."""

    AUTO = "auto"
    NONE = "none"
    LOCAL = "local"
    PROVIDER = "provider"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True)
class KeywordDataAccount:
    """Where keyword data is asked for, and as whom."""

    url: str
    login: SecretStr
    password: SecretStr


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="INFIN8_", env_file=".env", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    state_dir: Path = Path(".infin8")
    output_dir: Path = Path("published")
    sites_dir: Path | None = None

    postgres_dsn: SecretStr | None = None
    postgres_operator_dsn: SecretStr | None = None
    postgres_admin_dsn: SecretStr | None = None
    postgres_connections_max: int = Field(default=30, ge=2)

    temporal_address: str | None = Field(
        default=None, validation_alias=AliasChoices("TEMPORAL_ADDRESS", "INFIN8_TEMPORAL_ADDRESS")
    )
    temporal_namespace: str = Field(
        default="default", validation_alias=AliasChoices("TEMPORAL_NAMESPACE", "INFIN8_TEMPORAL_NAMESPACE")
    )
    temporal_ui: str | None = None
    task_queue: str = "infin8"

    llm_base_url: str | None = None
    llm_api_key: SecretStr | None = None
    openrouter_api_key: SecretStr | None = Field(default=None, validation_alias="OPENROUTER_API_KEY")
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    sandbox_url: str | None = None

    keyword_data_login: SecretStr | None = None
    keyword_data_password: SecretStr | None = None
    keyword_data_url: str = KEYWORD_DATA_URL
    keyword_data_demo: bool = False

    wordpress_url: str | None = None
    wordpress_user: str | None = None
    wordpress_application_password: SecretStr | None = None
    wordpress_sites: SecretStr | None = None

    embeddings: EmbeddingChoice = EmbeddingChoice.AUTO
    embeddings_model: str = EMBEDDINGS_MODEL

    workflow_task_slots: int = Field(default=20, ge=1)
    database_slots: int = Field(default=20, ge=1)
    llm_slots: int = Field(default=8, ge=1)
    web_slots: int = Field(default=8, ge=1)
    llm_calls_per_second: float | None = Field(default=None, gt=0)
    workflows_cached_max: int = Field(default=500, ge=0)
    drain_seconds: float = Field(default=150, ge=0)

    health_port: int | None = None
    metrics_port: int | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: str = "INFO"
    reminder_webhook_url: SecretStr | None = None
    deployment_name: str | None = None
    build_id: str | None = None

    timeouts: ActivityTimeouts = ActivityTimeouts()
    steps: StepSettings = StepSettings()
    reconcile: ReconcileSettings = ReconcileSettings()

    @property
    def uses_sandbox(self) -> bool:
        """The sandbox answers for the models: named as the base URL, or there while no account is set up."""
        if self.sandbox_url is None:
            return False
        if self.llm_base_url:
            return self.llm_base_url.startswith(self.sandbox_url)
        return self.account_key is None

    @property
    def account_key(self) -> SecretStr | None:
        return next(iter(_given(self.llm_api_key, self.openrouter_api_key, self.openai_api_key)), None)

    @property
    def secrets(self) -> list[SecretStr]:
        """What must never appear in a log."""
        keys = _given(self.llm_api_key, self.openrouter_api_key, self.openai_api_key)
        keys += _given(self.keyword_data_password, self.keyword_data_login)
        return [*keys, *_given(self.wordpress_application_password), *self._wordpress_secrets]

    @property
    def _wordpress_secrets(self) -> list[SecretStr]:
        try:
            return [site.application_password for site in _sites_by_domain(self.wordpress_sites).values()]
        except ConfigurationError:
            return _given(self.wordpress_sites)

    @property
    def wordpress(self) -> WordPressSites:
        """The sites that articles may go to. Raises ConfigurationError naming the setting at fault, never a password.

        ``INFIN8_WORDPRESS_SITES`` is JSON, or the path of a file of it, by the organization's bare domain:
        ``{"acme.example": {"url": …, "user": …, "application_password": …}}``. The three plain settings are for every
        organization that it does not name.
        """
        return WordPressSites(by_domain=_sites_by_domain(self.wordpress_sites), default=self._default_wordpress)

    @property
    def _default_wordpress(self) -> WordPressSite | None:
        password = self.wordpress_application_password.get_secret_value() if self.wordpress_application_password else ""
        given = (self.wordpress_url or "", self.wordpress_user or "", password)
        return checked_site("of INFIN8_WORDPRESS_URL", *given) if any(given) else None

    @property
    def keyword_data_account(self) -> KeywordDataAccount | None:
        """The sandbox's invented figures for runs of the sandbox, an account's for all others: neither stands in for
        the other. None without an account; raises ConfigurationError for half of one."""
        if self.uses_sandbox:
            sandbox = SecretStr(SANDBOX_KEY)
            return KeywordDataAccount(f"{self.sandbox_url}/v3", sandbox, sandbox)
        given = _given(self.keyword_data_login, self.keyword_data_password)
        if not given:
            return None
        if self.sandbox_url and self.keyword_data_url.startswith(self.sandbox_url):
            raise ConfigurationError(
                f"INFIN8_KEYWORD_DATA_URL is {self.keyword_data_url!r}, the sandbox: its figures are invented and the "
                "models are an account's; leave it out"
            )
        if len(given) < 2 or self.keyword_data_login is None or self.keyword_data_password is None:
            raise ConfigurationError(
                "keyword data needs both INFIN8_KEYWORD_DATA_LOGIN and INFIN8_KEYWORD_DATA_PASSWORD; one is missing"
            )
        return KeywordDataAccount(self.keyword_data_url, self.keyword_data_login, self.keyword_data_password)

    @property
    def model_key(self) -> SecretStr:
        """Raises ConfigurationError when no account is set up."""
        if self.uses_sandbox:
            return SecretStr(SANDBOX_KEY)
        if self.account_key is None:
            raise ConfigurationError(
                "no API key for the model provider: set INFIN8_LLM_API_KEY (or OPENROUTER_API_KEY, OPENAI_API_KEY), "
                "or run `starter.py up` to try everything with the sandbox"
            )
        return self.account_key

    @property
    def model_url(self) -> str:
        if self.uses_sandbox:
            return f"{self.sandbox_url}/v1"
        if self.llm_base_url:
            return self.llm_base_url.rstrip("/")
        return OPENAI_URL if self._is_openai_only else OPENROUTER_URL

    @property
    def _is_openai_only(self) -> bool:
        return self.account_key is not None and self.account_key == self.openai_api_key and not self.llm_base_url

    @property
    def site_overrides(self) -> dict[str, str]:
        """Where the invented ``.example`` sites are served; empty without the sandbox."""
        return {SANDBOX_SUFFIX: f"{self.sandbox_url}/sites"} if self.sandbox_url else {}

    def _competitor_settings(self) -> CompetitorSettings:
        """A provider of keyword data is asked where there is an account; in the sandbox where invented figures are
        wanted."""
        competitor = self.steps.competitor
        is_enabled = self.keyword_data_demo if self.uses_sandbox else self.keyword_data_account is not None
        enabled = competitor.keyword_data.model_copy(update={"is_enabled": is_enabled})
        return competitor.model_copy(update={"keyword_data": enabled})

    def step_settings(self, *, auto_approve_seeds: bool) -> StepSettings:
        """What is stored with a workflow when it starts: nothing of it changes by a later deploy."""
        steps = self.steps.model_copy(
            update={
                "timeouts": self.timeouts,
                "auto_approve_seeds": auto_approve_seeds,
                "is_demo_text": self.uses_sandbox,
                "competitor": self._competitor_settings(),
            }
        )
        steps = with_embeddings(steps, *self._embeddings())
        return _with_models(steps, OPENAI_MODELS) if self._is_openai_only else steps

    def _embeddings(self) -> tuple[Embeddings, str | None]:
        """Where meanings of keywords come from, and the exact model. Raises ConfigurationError for a local model that
        is not installed."""
        from providers.embeddings import INSTALLING, installed_model

        if self.embeddings is EmbeddingChoice.NONE:
            return Embeddings.NONE, None
        if self.embeddings is EmbeddingChoice.PROVIDER:
            model = self.embeddings_model
            return Embeddings.PROVIDER, model.removeprefix("openai/") if self._is_openai_only else model
        local = installed_model()
        if local is None and self.embeddings is EmbeddingChoice.LOCAL:
            raise ConfigurationError(f"INFIN8_EMBEDDINGS is local, and no local model is installed: {INSTALLING}")
        return (Embeddings.LOCAL, local) if local else (Embeddings.NONE, None)


def _given(*secrets: SecretStr | None) -> list[SecretStr]:
    return [secret for secret in secrets if secret is not None and secret.get_secret_value()]


def _with_models(steps: StepSettings, models: tuple[str, ...]) -> StepSettings:
    """Only what that provider offers, in its own names."""

    def only(route: Route) -> Route:
        return route.model_copy(update={"models": models})

    article = steps.article.model_copy(
        update={
            "outline_route": only(steps.article.outline_route),
            "section_route": only(steps.article.section_route),
        }
    )
    return steps.model_copy(
        update={
            "icp": steps.icp.model_copy(update={"route": only(steps.icp.route)}),
            "competitor": steps.competitor.model_copy(update={"route": only(steps.competitor.route)}),
            "article": article,
        }
    )


def _sites_by_domain(setting: SecretStr | None) -> dict[str, WordPressSite]:
    """Of JSON, or of the file that is named. No message shows the value: broken JSON has passwords in it too."""
    text = setting.get_secret_value().strip() if setting else ""
    if text and not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            raise ConfigurationError(
                "INFIN8_WORDPRESS_SITES is neither a JSON object nor the path of a file that can be read"
            ) from None
    return parse_sites(text, "INFIN8_WORDPRESS_SITES") if text else {}


def load_settings() -> Settings:
    """Raises ConfigurationError naming the setting, its value and the rule."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"setting {name} is {first['input']!r}: {first['msg']}; see .env.example") from error


async def with_local_stack(settings: Settings) -> Settings:
    """Addresses that are not set are those of the stack that runs over the state folder, if one does."""
    if settings.postgres_dsn is not None and settings.temporal_address is not None:
        return settings
    from sandbox.stack import find_stack

    stack = await find_stack(settings.state_dir)
    if stack is None:
        return settings
    return settings.model_copy(
        update={
            "postgres_dsn": settings.postgres_dsn or SecretStr(stack.postgres_dsn),
            "postgres_operator_dsn": settings.postgres_operator_dsn or SecretStr(stack.postgres_operator_dsn),
            "postgres_admin_dsn": settings.postgres_admin_dsn or SecretStr(stack.postgres_admin_dsn),
            "temporal_address": settings.temporal_address or stack.temporal_address,
            "temporal_ui": settings.temporal_ui or stack.temporal_ui,
            "sandbox_url": settings.sandbox_url or stack.sandbox_url or None,
        }
    )


def environment_has_temporal() -> bool:
    """A profile or address of Temporal's own is set: its loader decides then."""
    return any(os.environ.get(name) for name in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"))
