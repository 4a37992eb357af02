"""All settings of the device, read once. The only module that reads the environment or configuration files.

Where a value comes from, strongest first: command line, `<home>/edge.toml`, board profile, default. Secrets are paths,
never values. `covey-edge check` prints the effective settings with their origins.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from shared.backoff import CAP_S
from shared.errors import ConfigError
from shared.escalation import WAIT_MAX_S
from shared.records import CollectionName, UnitName

HOME_VARIABLE: Final = "COVEY_EDGE_HOME"
MODELS_VARIABLE: Final = "COVEY_MODELS_DIR"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what LoadCredential= gives a service."""
IDENTITY_CREDENTIAL: Final = "covey-identity"
SETTINGS_FILE: Final = "edge.toml"
DEFAULT_ORIGIN: Final = "default"
PROFILE_ORIGIN: Final = "profile "
_PROFILE_FOLDERS: Final = (
    Path(__file__).parent / "profiles",
    Path(__file__).parent.parent / "firmware-configs",
)


_PLAIN: Final = re.compile(r"\w[\w .,/%()°-]{0,31}")
"""Python's own: Pydantic's engine takes 1.4 MB for what a letter is in any language."""


def _plain(text: str) -> str:
    if _PLAIN.fullmatch(text) is None:
        raise ValueError("a few words of letters and digits, at most 32 characters")
    return text


class SensorSettings(BaseModel):
    """One sensor. `csv` replays a column of a file, a row each `interval_s`; `file` reads a number from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    kind: Literal["csv", "file"]
    path: Path
    column: str = "value"
    interval_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    scale: float = 1.0
    quantity: Annotated[str, AfterValidator(_plain)] = "value"
    """What it measures, as the agent says it: one line without marks that a reader or a model could stumble over."""
    unit: UnitName = ""
    low: float | None = None
    high: float | None = None
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


RUN_TIME_SETTINGS: Final = (
    "log_level",
    "answer_max_tokens",
    "task_turns",
    "task_tool_calls",
    "task_output_tokens",
    "task_wall_s",
    "tasks_max_open",
    "model_idle_unload_s",
    "hello_timeout_s",
    "hello_interval_s",
    "journal_max_bytes",
    "journal_keep_bytes",
    "journal_keep_s",
    "episodes_keep",
    "metrics_max_bytes",
    "metrics_keep_s",
    "knowledge",
    "knowledge_max_bytes",
    "memory_episodes_max",
    "memory_facts_max",
    "memory_procedures_max",
    "memory_answers_max",
    "memory_keep_s",
    "escalate",
    "escalate_wait_s",
    "telemetry",
    "telemetry_sample_s",
    "telemetry_window_s",
    "telemetry_interval_s",
)
"""What a hub may set, and what takes effect while the device runs. The others belong to the board or to its owner."""


def _as_tuple(value: object) -> object:
    """The hub's JSON has arrays, and is validated strictly."""
    return tuple(value) if isinstance(value, list) else value


class EdgeSettings(BaseModel):
    """Settings of one device. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    models_dir: Path
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")] = (
        "qwen2.5-coder-1.5b-instruct"
    )
    model_context_tokens: Annotated[int, Field(ge=512, le=131_072)] = 4_096
    model_threads: Annotated[int, Field(ge=0, le=256)] = 0
    model_idle_unload_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    model_memory_max_mb: Annotated[int, Field(ge=64)] | None = None
    model_url: str | None = None
    model_api_key_file: Path | None = None
    index: Literal["on", "off"] = "on"
    cpu_nice: Annotated[int, Field(ge=0, le=19)] = 0
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65_535)] = 8_765
    page_hosts: tuple[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")], ...
    ] = ()
    page_session_s: Annotated[int, Field(ge=60, le=2_592_000)] = 43_200
    body_max_bytes: Annotated[int, Field(ge=1_024, le=16_777_216)] = 1_048_576
    goal_max_bytes: Annotated[int, Field(ge=64, le=49_152)] = 16_384
    tasks_max_open: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    task_turns: Annotated[int, Field(ge=1, le=100)] = 8
    task_tool_calls: Annotated[int, Field(ge=0, le=1_000)] = 16
    task_output_tokens: Annotated[int, Field(ge=1, le=100_000)] = 2_048
    task_wall_s: Annotated[int, Field(ge=1, le=604_800)] = 900
    # What the journal keeps of an answer is 16 KiB; a longer one would have to be cut.
    answer_max_tokens: Annotated[int, Field(ge=16, le=2_048)] = 256
    hello_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    hello_interval_s: Annotated[float, Field(ge=5, le=86_400)] = 120.0
    ping_interval_s: Annotated[int, Field(ge=5, le=3_600)] = 30
    reconnect_max_s: Annotated[float, Field(ge=0.1, le=86_400)] = CAP_S
    journal_max_bytes: Annotated[int, Field(ge=1_048_576, le=2**40)] = 536_870_912
    journal_reserve_bytes: Annotated[int, Field(ge=262_144, le=2**40)] = 16_777_216
    journal_keep_bytes: Annotated[int, Field(ge=0, le=2**40)] = 134_217_728
    journal_keep_s: Annotated[int, Field(ge=0, le=3_153_600_000)] = 2_592_000
    episodes_keep: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    metrics_max_bytes: Annotated[int, Field(ge=65_536, le=2**40)] = 67_108_864
    metrics_keep_s: Annotated[int, Field(ge=0, le=3_153_600_000)] = 7_776_000
    retention_interval_s: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    ballast_bytes: Annotated[int, Field(ge=0, le=2**30)] = 1_048_576
    knowledge: Annotated[tuple[CollectionName, ...], BeforeValidator(_as_tuple), Field(max_length=64)] = ()
    knowledge_max_bytes: Annotated[int, Field(ge=0, le=2**40)] = 536_870_912
    memory_episodes_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    memory_facts_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    memory_procedures_max: Annotated[int, Field(ge=0, le=100_000)] = 1_000
    memory_answers_max: Annotated[int, Field(ge=0, le=100_000)] = 2_000
    memory_keep_s: Annotated[int, Field(ge=60, le=3_153_600_000)] = 31_536_000
    # Off: rules that allow everything must not begin to send out what people ask because a program was updated.
    escalate: Literal["off", "unanswered"] = "off"
    escalate_wait_s: Annotated[float, Field(ge=0, le=WAIT_MAX_S)] = 15.0
    telemetry: Literal["on", "off"] = "on"
    telemetry_sample_s: Annotated[float, Field(ge=0.1, le=3_600)] = 10.0
    telemetry_window_s: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    telemetry_interval_s: Annotated[float, Field(ge=0.1, le=86_400)] = 600.0
    otlp_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$")] | None = None
    otlp_content: bool = False
    identity_passphrase_file: Path | None = None
    # Rules: where the device is, which people call themselves what here, who may sign, and the button that stops it.
    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    labels: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._=-]{1,64}$")], ...], Field(max_length=32)
    ] = ()
    policy_signers: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...], Field(max_length=16)
    ] = ()
    policy_threshold: Annotated[int, Field(ge=1, le=16)] = 1
    stop_line: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    sensors: tuple[SensorSettings, ...] = ()

    @field_validator("answer_max_tokens")
    @classmethod
    def _leaves_room_for_the_request(cls, answer_max_tokens: int, info: ValidationInfo) -> int:
        context_tokens = info.data.get("model_context_tokens", answer_max_tokens * 2)
        if answer_max_tokens * 2 > context_tokens:
            raise PydanticCustomError(
                "room", "at most half of model_context_tokens ({context})", {"context": context_tokens}
            )
        return answer_max_tokens

    @field_validator("sensors")
    @classmethod
    def _have_different_names(cls, sensors: tuple[SensorSettings, ...]) -> tuple[SensorSettings, ...]:
        names = [sensor.name for sensor in sensors]
        if twice := [name for name in names if names.count(name) > 1]:
            raise PydanticCustomError("twice", "two sensors are called {name}", {"name": twice[0]})
        return sensors

    @property
    def ballast_path(self) -> Path:
        return self.home / "store.ballast"

    @property
    def store_path(self) -> Path:
        return self.home / "store.sqlite"

    @property
    def identity_dir(self) -> Path:
        return self.home / "identity"

    @property
    def api_token_path(self) -> Path:
        return self.home / "api.token"

    @property
    def api_address_path(self) -> Path:
        return self.home / "api.json"


def load_settings(
    *, home: Path | None = None, profile: str | None = None, overrides: Mapping[str, object] | None = None
) -> tuple[EdgeSettings, dict[str, str]]:
    """The effective settings, and for each field where it came from.

    Raises `ConfigError` with one sentence for an unknown key, a wrong value, or a file that cannot be read.
    """
    home = (
        (home or Path(os.environ.get(HOME_VARIABLE, Path.home() / ".covey" / "edge"))).expanduser().absolute()
    )
    values: dict[str, Any] = {"home": home, "models_dir": default_models_dir()}
    origins = {
        "home": "command line or environment",
        "models_dir": "environment" if MODELS_VARIABLE in os.environ else DEFAULT_ORIGIN,
    }
    credential = _identity_credential()
    if credential is not None:
        values["identity_passphrase_file"], origins["identity_passphrase_file"] = (
            credential,
            "systemd credential",
        )
    if profile is not None:
        path = _profile_path(profile)
        _overlay(values, origins, _read(path), origin=f"{PROFILE_ORIGIN}{profile}", base=path.parent)
    file = home / SETTINGS_FILE
    if file.exists():
        _overlay(values, origins, _read(file), origin=str(file), base=home)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    _overlay(values, origins, given, origin="command line", base=Path.cwd())
    try:
        settings = EdgeSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        origin = origins.get(str(first["loc"][0]) if first["loc"] else "", "the settings")
        if first["type"] == "extra_forbidden":
            message = f"There is no setting {key!r} ({origin}); `covey-edge check` lists those there are."
        else:
            message = f"The setting {key!r} is wrong ({origin}): {first['msg']}."
        raise ConfigError(message) from error
    return settings, {name: origins.get(name, DEFAULT_ORIGIN) for name in EdgeSettings.model_fields}


def fixed_locally(origins: Mapping[str, str]) -> frozenset[str]:
    """Settings that somebody fixed on this very device: by `edge.toml` or the command line, not by a profile."""
    return frozenset(
        name
        for name, origin in origins.items()
        if origin != DEFAULT_ORIGIN and not origin.startswith(PROFILE_ORIGIN)
    )


def default_models_dir() -> Path:
    """Where model files live unless a setting says otherwise; shared by all devices of one user."""
    return Path(os.environ.get(MODELS_VARIABLE, Path.home() / ".covey" / "models")).expanduser().absolute()


def _identity_credential() -> Path | None:
    """The passphrase of the device's keys, if systemd gives this process one."""
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    path = None if folder is None else Path(folder) / IDENTITY_CREDENTIAL
    return path if path is not None and path.is_file() else None


def profiles() -> list[str]:
    """The board profiles that this installation carries."""
    found = {entry.parent.name for folder in _PROFILE_FOLDERS for entry in folder.glob("*/profile.toml")}
    return sorted(found)


def _profile_path(profile: str) -> Path:
    if profile not in profiles():
        raise ConfigError(f"There is no board profile {profile!r}; there are: {', '.join(profiles())}.")
    paths = (folder / profile / "profile.toml" for folder in _PROFILE_FOLDERS)
    return next(path for path in paths if path.is_file())


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _overlay(
    values: dict[str, Any], origins: dict[str, str], new: Mapping[str, object], *, origin: str, base: Path
) -> None:
    """Lay `new` over `values`; relative paths in a file are relative to that file."""
    for key, value in new.items():
        values[key] = _rebased(key, value, base)
        origins[key] = origin


def _rebased(key: str, value: object, base: Path) -> object:
    if key == "sensors" and isinstance(value, list):
        return [
            {**sensor, "path": base / str(sensor["path"])}
            if isinstance(sensor, dict) and "path" in sensor
            else sensor
            for sensor in value
        ]
    if key in ("models_dir", "model_api_key_file", "identity_passphrase_file", "stop_line") and isinstance(
        value, str
    ):
        return base / Path(value).expanduser()
    return value
