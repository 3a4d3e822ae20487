"""Settings, read by ``worker.py`` and ``starter.py`` and by nobody else.

Everything comes from environment variables ``INFIN8_*`` or a file ``.env``; nested values join their names with two
underscores (``INFIN8_TIMEOUTS__HEARTBEAT_SECONDS=1``). Addresses that are not set are taken from the local stack that
runs over the state folder, if one does.
"""

import os
from enum import StrEnum
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import ConfigurationError
from domain.language import Route
from domain.reconciliation import ReconcileSettings
from domain.settings import ActivityTimeouts, StepSettings

OPENROUTER_URL = "https://openrouter.ai/api/v1"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODELS = ("gpt-4o-mini",)
SANDBOX_KEY = "sandbox"
SANDBOX_SUFFIX = ".example"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


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
        return next(iter(self.secrets), None)

    @property
    def secrets(self) -> list[SecretStr]:
        """What must never appear in a log."""
        keys = (self.llm_api_key, self.openrouter_api_key, self.openai_api_key)
        return [key for key in keys if key is not None and key.get_secret_value()]

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

    def step_settings(self, *, auto_approve_seeds: bool) -> StepSettings:
        """What is stored with a workflow when it starts: nothing of it changes by a later deploy."""
        steps = self.steps.model_copy(
            update={
                "timeouts": self.timeouts,
                "auto_approve_seeds": auto_approve_seeds,
                "is_demo_text": self.uses_sandbox,
            }
        )
        return _with_models(steps, OPENAI_MODELS) if self._is_openai_only else steps


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
