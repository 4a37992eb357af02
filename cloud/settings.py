"""Everything about a hub that an operator may set. This module alone reads the environment and `hub.toml`.

Order: defaults, then `<home>/hub.toml`, then command line flags. `home` itself comes from `--home`, else from
COVEY_HUB_HOME, else ~/.covey/hub. An unknown key is an error, not a silence. Secrets are files, never values.
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.devices.presence import PresenceLimits
from shared.blobs import BLOB_MAX_BYTES
from shared.enrolment import TenantName
from shared.errors import ConfigError

FILE_NAME: Final = "hub.toml"
HOME_VARIABLE: Final = "COVEY_HUB_HOME"
EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, never a default
DEFAULT_HOME: Final = Path("~/.covey/hub")

Port = Annotated[int, Field(ge=1, le=65_535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]


class HubSettings(BaseModel):
    """A hub's settings. Each has a default that works on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="Directory of keys, database and broker files; closed to other accounts.")
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL, e.g. postgresql+psycopg://…; empty means SQLite in `home`.",
    )
    host: Host = Field(default="127.0.0.1", description="Address on which HTTPS listens; 0.0.0.0 for all.")
    port: Port = Field(default=8443, description="Port of the HTTPS API.")
    public_host: Host = Field(
        default="localhost",
        description="Name or address by which devices reach this machine; it is in certificates and tokens.",
    )
    mqtt_host: Host = Field(default="127.0.0.1", description="Address on which `up` lets the broker listen.")
    mqtt_port: Port = Field(default=8883, description="Port of the broker.")
    mqtt_url: str = Field(
        default="",
        pattern=r"^(mqtts://[A-Za-z0-9._-]+(:[0-9]{1,5})?)?$",
        description="Broker that `serve` uses, mqtts://host:port. `up` starts its own.",
    )
    mqtt_max_connections: int = Field(
        default=16_000, ge=10, le=1_000_000, description="Connections that `up` lets its broker take."
    )
    mosquitto_program: str = Field(default="mosquitto", description="Program that `up` starts as broker.")
    tenant: TenantName = Field(default="main", description="Tenant meant where none is named.")
    trust_domain: str = Field(
        default="covey.internal",
        pattern=r"^[a-z0-9._-]{1,255}$",
        description="Domain in the SPIFFE ids of device certificates.",
    )
    token_ttl_s: int = Field(default=3_600, ge=1, le=2_592_000, description="Life of an enrolment token.")
    task_lease_s: int = Field(
        default=300, ge=1, le=31_536_000, description="How long a device may be silent about a task it holds."
    )
    task_deadline_s: int = Field(
        default=86_400, ge=1, le=31_536_000, description="After this a task is expired, done or not."
    )
    task_max_attempts: int = Field(
        default=5, ge=1, le=1_000, description="Devices to which one `any` node is offered before it fails."
    )
    task_max_devices: int = Field(
        default=1_000, ge=1, le=65_000, description="Devices that one task may name (children of its map)."
    )
    sweep_interval_s: float = Field(
        default=5.0, gt=0, le=3_600, description="How often lapsed leases and deadlines are looked for."
    )
    leader_lease_s: float = Field(
        default=15.0,
        ge=0.5,
        le=600,
        description="After so long another process takes over the periodic jobs of one that died.",
    )
    presence_stale_after_s: int = Field(
        default=300,
        ge=10,
        le=604_800,
        description="A connected device that is silent for so long is `stale`; more than two of its hello intervals.",
    )
    presence_lost_after_s: int = Field(
        default=604_800, ge=60, le=315_360_000, description="A device that is silent for so long is `lost`."
    )
    presence_will_grace_s: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="How long the broker's word that a connection ended is doubted, while the device may contradict.",
    )
    hello_rate_max_per_s: int = Field(
        default=300,
        ge=1,
        le=100_000,
        description="Hellos a second for which the fleet spreads its own when the hub comes (back).",
    )
    ingest_queue_max_messages: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Messages that wait in each of a worker's three classes; more are dropped, and come again.",
    )
    ingest_queue_max_bytes: int = Field(
        default=67_108_864, ge=131_072, le=17_179_869_184, description="The same in bytes, for each class."
    )
    ingest_device_max_messages: int = Field(
        default=64, ge=8, le=100_000, description="Messages of one device that wait; more of it are dropped."
    )
    ingest_group_max_messages: int = Field(
        default=64, ge=1, le=10_000, description="Messages that share one commit."
    )
    ingest_group_max_bytes: int = Field(
        default=262_144, ge=1, le=67_108_864, description="The same in bytes; one message always fits."
    )
    ingest_poll_s: float = Field(
        default=1.0,
        ge=0.01,
        le=60,
        description="How often a worker looks for orders that nobody told it of, and that are due again.",
    )
    metrics_raw_keep_s: int = Field(
        default=172_800,
        ge=3_600,
        le=31_536_000,
        description="How long devices' metrics are kept as they were sent.",
    )
    metrics_hours_keep_days: int = Field(
        default=90, ge=1, le=36_500, description="How long the hours are kept that they are rolled up to."
    )
    metrics_roll_up_interval_s: float = Field(
        default=300.0, gt=0, le=3_600, description="How often metrics are rolled up, and old ones removed."
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="HTTPS port of `GET /metrics` in a process of role ingest, which has no other; 0 for none.",
    )
    otlp_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Collector for OpenTelemetry traces of tasks (OTLP/HTTP), e.g. http://collector:4318.",
    )
    otlp_content: bool = Field(
        default=False, description="Put goals, prompts, answers and tool results into the traces."
    )
    body_max_bytes: int = Field(
        default=524_288, ge=16_384, le=16_777_216, description="Largest HTTP request body; beyond it 413."
    )
    goal_max_bytes: int = Field(
        default=BLOB_MAX_BYTES, ge=1, le=BLOB_MAX_BYTES, description="Largest goal of a task, in UTF-8 bytes."
    )
    reconnect_max_s: float = Field(
        default=30.0, ge=0.1, le=3_600, description="Longest wait before the broker is tried again."
    )
    page_max_rows: int = Field(default=500, ge=1, le=10_000, description="Most rows that one page returns.")
    event_streams_max: int = Field(
        default=200, ge=1, le=10_000, description="Most open `/events` streams at once; beyond it 429."
    )
    dashboard: Literal["on", "off"] = Field(
        default="on", description="The fleet page at /dashboard; off saves 25 MB in each process with HTTPS."
    )
    dashboard_session_s: int = Field(
        default=43_200,
        ge=60,
        le=2_592_000,
        description="How long a browser stays signed in at the fleet page.",
    )
    shutdown_timeout_s: int = Field(
        default=10, ge=1, le=600, description="How long open requests may finish when the hub stops."
    )

    @classmethod
    def load(cls, home: Path | None, flags: Mapping[str, Any]) -> Self:
        """Defaults, file, flags (those that are not None). Raises `ConfigError` naming the first bad key."""
        directory = find_home(home)
        values = {
            **_read_file(directory / FILE_NAME),
            **{key: value for key, value in flags.items() if value is not None},
            "home": directory,
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ConfigError(
                    f"There is no hub setting {key!r}; correct or remove it in {directory / FILE_NAME}."
                ) from error
            raise ConfigError(
                f"The hub setting {key!r} is wrong ({first['msg']}); correct it in {directory / FILE_NAME}"
                " or on the command line."
            ) from error

    @property
    def database(self) -> str:
        """The URL in effect."""
        return self.database_url or f"sqlite:///{self.home / 'hub.sqlite'}"

    @property
    def url(self) -> str:
        """What devices are told to call."""
        return f"https://{_bracketed(self.public_host)}:{self.port}"

    @property
    def local_url(self) -> str:
        """What programs on this machine call."""
        host = "127.0.0.1" if self.host in EVERY_ADDRESS else self.host
        return f"https://{_bracketed(host)}:{self.port}"

    @property
    def certificate_hosts(self) -> list[str]:
        """What the server certificate is for: the public name, and where we listen unless that is everywhere."""
        listening = [host for host in (self.host, self.mqtt_host) if host not in EVERY_ADDRESS]
        return [self.public_host, *listening]

    @property
    def presence_limits(self) -> PresenceLimits:
        return PresenceLimits(
            stale_after=timedelta(seconds=self.presence_stale_after_s),
            lost_after=timedelta(seconds=self.presence_lost_after_s),
            will_grace=timedelta(seconds=self.presence_will_grace_s),
        )

    @property
    def run_directory(self) -> Path:
        """Where living processes of this home say what they do and where they listen."""
        return self.home / "run"

    @property
    def admin_token_file(self) -> Path:
        return self.home / "admin.token"

    @property
    def identity_directory(self) -> Path:
        return self.home / "identity"

    @property
    def broker_directory(self) -> Path:
        return self.home / "broker"


def find_home(home: Path | None) -> Path:
    """The hub's directory: as given, else from COVEY_HUB_HOME, else the default."""
    chosen = home or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)
    try:
        return chosen.expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError("This account has no home directory; say --home DIR.") from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read; make it a readable UTF-8 file.") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML ({error}).") from error
    if "home" in values:
        raise ConfigError(f"`home` cannot be set in {path}, which lies in it; use --home or {HOME_VARIABLE}.")
    return values


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
