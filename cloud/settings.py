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

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cloud.addresses import ClientAddresses
from cloud.caller import Role
from cloud.connection_limits import ConnectionLimits
from cloud.devices.presence import PresenceLimits
from cloud.devices.renewal_rules import RenewalRules
from cloud.ingest.rates import DeviceRate
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.questions.limits import QuestionLimits
from cloud.rates import GateRates, Rate
from shared.blobs import BLOB_MAX_BYTES
from shared.enrolment import TenantName
from shared.errors import ConfigError
from shared.inference.installed import EMBEDDING_MODEL

FILE_NAME: Final = "hub.toml"
HOME_VARIABLE: Final = "COVEY_HUB_HOME"
MODELS_VARIABLE: Final = "COVEY_MODELS_DIR"
TOKEN_FILE_VARIABLE: Final = "COVEY_HUB_TOKEN_FILE"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what LoadCredential= gives a service."""
KEYS_CREDENTIAL: Final = "covey-hub-keys"
EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, never a default
MQTT_URL_PATTERN: Final = r"^(mqtts://[A-Za-z0-9._-]+(:[0-9]{1,5})?)?$"
DEFAULT_HOME: Final = Path("~/.covey/hub")
DEFAULT_MODELS: Final = Path("~/.covey/models")

Port = Annotated[int, Field(ge=1, le=65_535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
# As a server of somebody else may call its models. It may be the name of a folder too, hence no leading dot.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")]


def _is_network(text: str) -> str:
    ClientAddresses([text])
    return text


Proxy = Annotated[str, AfterValidator(_is_network)]


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
        pattern=MQTT_URL_PATTERN,
        description="Broker that `serve` uses, mqtts://host:port. `up` starts its own.",
    )
    mqtt_hub_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Port on 127.0.0.1 where the broker of `up` takes the hub itself; 0 takes a free one.",
    )
    mqtt_hub_url: str = Field(
        default="",
        pattern=MQTT_URL_PATTERN,
        description="Where `serve` itself finds that broker, if its devices' listener makes names to client ids.",
    )
    crl_file: Path | None = Field(
        default=None,
        description="Where the certificate revocation list is kept for the broker; none: broker/revoked.pem.",
    )
    broker_reload_command: tuple[Annotated[str, Field(min_length=1, max_length=1_024)], ...] = Field(
        default=(),
        max_length=64,
        description="Command, as a list, by which `serve` has its broker read the revocation list again.",
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
    key_passphrase_file: Path | None = Field(
        default=None,
        description="File with the passphrase of the hub's encrypted keys; systemd's credential goes before.",
    )
    token_ttl_s: int = Field(default=3_600, ge=1, le=2_592_000, description="Life of an enrolment token.")
    device_certificate_days: float = Field(
        default=60.0,
        gt=0,
        le=825,
        description="Life of a device's certificate; it is renewed at two thirds of it.",
    )
    device_renewal_grace_days: float = Field(
        default=90.0,
        ge=0,
        le=3_650,
        description="How long after its end a certificate still renews itself, over HTTPS.",
    )
    device_renewal_interval_s: float = Field(
        default=300.0, ge=0, le=86_400, description="A device gets no more than one certificate in so long."
    )
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
    ingest_device_rate_per_s: float = Field(
        default=500.0,
        gt=0,
        le=100_000,
        description="Messages a second that one device may send on the long run.",
    )
    ingest_device_burst_messages: int = Field(
        default=2_000, ge=64, le=1_000_000, description="How many of them may come at once."
    )
    ingest_device_bytes_per_s: int = Field(
        default=16_777_216, ge=4_096, le=17_179_869_184, description="The same in bytes."
    )
    ingest_device_burst_bytes: int = Field(
        default=67_108_864, ge=1_048_576, le=17_179_869_184, description="How many of them may come at once."
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
    audit_head_interval_s: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="How often the audit log's tree head is signed, if there is anything new.",
    )
    audit_checkpoint_interval_s: float = Field(
        default=3_600.0,
        ge=1,
        le=604_800,
        description="How often the audit log vouches for where the devices' logs stand, of those that moved.",
    )
    two_person_actions: tuple[str, ...] = Field(
        default=(),
        description='Actions that a second person must agree to, e.g. ["device.revoke", "twin.fleet"].',
    )
    two_person_task_devices: int = Field(
        default=10,
        ge=1,
        le=65_000,
        description="A task for more devices than this is the action `task.fleet`.",
    )
    proposal_ttl_s: int = Field(
        default=86_400, ge=60, le=2_592_000, description="How long a second person may take to agree."
    )
    secret_max_devices: int = Field(
        default=1_000, ge=1, le=65_000, description="Devices that one request may give a secret."
    )
    body_max_bytes: int = Field(
        default=524_288, ge=16_384, le=16_777_216, description="Largest HTTP request body; beyond it 413."
    )
    http_open_rate_per_s: float = Field(
        default=50.0,
        gt=0,
        le=100_000,
        description="Requests a second of one address without a credential: enrolment, sign-in, strangers.",
    )
    http_open_burst_requests: int = Field(
        default=1_000, ge=1, le=1_000_000, description="How many of them may come at once."
    )
    http_failed_rate_per_s: float = Field(
        default=1.0,
        gt=0,
        le=100_000,
        description="Unknown tokens a second that are looked at from one address.",
    )
    http_failed_burst_requests: int = Field(
        default=30, ge=1, le=1_000_000, description="How many of them may come at once."
    )
    http_caller_rate_per_s: float = Field(
        default=500.0, gt=0, le=100_000, description="Requests a second of one user or API token."
    )
    http_caller_burst_requests: int = Field(
        default=5_000, ge=1, le=1_000_000, description="How many of them may come at once."
    )
    http_addresses_max: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="Addresses and callers that are counted at a time; IPv6 by networks of 64 bits.",
    )
    http_connections_max: int = Field(
        default=800,
        ge=10,
        le=1_000_000,
        description="Connections that HTTPS of one process holds; one more is closed. Below the limit of open files.",
    )
    http_connections_per_address_max: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="How many of them one address may have; IPv6 by networks of 64 bits. Not of `trusted_proxies`.",
    )
    http_head_timeout_s: float = Field(
        default=15.0,
        ge=1,
        le=600,
        description="How long a TLS handshake with the first request head, and each further head, may take.",
    )
    trusted_proxies: tuple[Proxy, ...] = Field(
        default=(),
        description="Proxies before the hub whose `X-Forwarded-For` is believed: addresses or networks.",
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
    event_streams_per_caller_max: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="How many of them one user, with all API tokens, or one other API token may have.",
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
    dashboard_idle_s: int = Field(
        default=3_600,
        ge=60,
        le=2_592_000,
        description="The same without a page being open or asked for.",
    )
    api_token_ttl_s: int = Field(
        default=2_592_000, ge=60, le=315_360_000, description="Life of an API token, unless it is told."
    )
    api_token_max_s: int = Field(
        default=31_536_000, ge=60, le=315_360_000, description="Longest life of an API token."
    )
    oidc_issuer: str = Field(
        default="",
        max_length=300,
        pattern=r"^(https://[^\s/?#]+[^\s?#]*|http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?[^\s?#]*)?$",
        description="OpenID Connect provider by which people sign in, as it calls itself; none without.",
    )
    oidc_client_id: str = Field(
        default="", max_length=255, description="What this hub is called at the provider."
    )
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File with the hub's secret at the provider; none for a public client."
    )
    oidc_label: str = Field(
        default="your organisation",
        min_length=1,
        max_length=40,
        description="The provider's name on the sign-in page.",
    )
    oidc_redirect_url: str = Field(
        default="",
        max_length=300,
        pattern=r"^(https://[^\s/?#]+/dashboard/sign-in/return)?$",
        description="Where the provider sends browsers back to, if people reach the hub by another name or port.",
    )
    oidc_ca_file: Path | None = Field(
        default=None, description="PEM file of the provider's authority, if the system does not know it."
    )
    oidc_auto_create_role: Role | None = Field(
        default=None, description="Role of whom the provider knows and the hub does not; none: not let in."
    )
    oidc_auto_create_tenant: TenantName | None = Field(
        default=None, description="Tenant of these; that of `tenant` without."
    )
    knowledge_document_max_bytes: int = Field(
        default=67_108_864, ge=1_024, le=1_073_741_824, description="Largest document that is taken."
    )
    knowledge_documents_max: int = Field(
        default=20_000, ge=1, le=100_000, description="Documents of one collection."
    )
    knowledge_waiting_max_bytes: int = Field(
        default=1_073_741_824,
        ge=1_048_576,
        description="Bytes of documents that may wait to be read, of all collections together.",
    )
    knowledge_revisions_keep: int = Field(
        default=10, ge=1, le=1_000, description="Revisions of a collection that can be rolled back to."
    )
    memory_publish_after_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="What is approved of devices' memories within so long is published together.",
    )
    models_dir: Path | None = Field(
        default=None,
        description="Where model files are; none: COVEY_MODELS_DIR, else ~/.covey/models, as of a device.",
    )
    embedding_model: ModelName = Field(
        default=EMBEDDING_MODEL,
        description="What documents and questions are embedded with: the same file as on the devices.",
    )
    embedding_threads: int = Field(
        default=1, ge=0, le=256, description="Its compute threads; 0 takes every core."
    )
    embedding_idle_unload_s: float = Field(
        default=300.0, ge=0, le=86_400, description="Unload it after so many idle seconds; 0 never."
    )
    answer_model: Literal[""] | ModelName = Field(
        default="qwen2.5-coder-1.5b-instruct",
        description="What answers from documents: a catalogue name, or the name at `answer_model_url`; empty: nothing.",
    )
    answer_model_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="An OpenAI-compatible server instead of the local model, up to before /chat/completions.",
    )
    answer_model_key_file: Path | None = Field(default=None, description="File with that server's key.")
    answer_model_context_tokens: int = Field(
        default=4_096, ge=512, le=131_072, description="Context of what answers, at most what the model can."
    )
    answer_model_threads: int = Field(
        default=0, ge=0, le=256, description="Its compute threads; 0 takes every core."
    )
    answer_model_idle_unload_s: float = Field(
        default=300.0, ge=0, le=86_400, description="Unload it after so many idle seconds; 0 never."
    )
    answer_model_memory_max_mb: Annotated[int, Field(ge=64)] | None = Field(
        default=None, description="Refuse a model that needs more, before loading it."
    )
    question_waiting_max: int = Field(
        default=20, ge=1, le=10_000, description="Questions of one device that wait for the hub's answer."
    )
    question_worth_s: int = Field(
        default=604_800, ge=1, le=31_536_000, description="How long a device's question is worth answering."
    )
    question_attempts_max: int = Field(
        default=5, ge=1, le=20, description="How often answering a device's question is tried."
    )
    question_retry_s: float = Field(
        default=10.0,
        ge=0.1,
        le=3_600,
        description="Wait after an answer failed; twice as long after each further time.",
    )
    knowledge_extract_max_s: float = Field(
        default=120.0, ge=1, le=3_600, description="Time for reading one document."
    )
    knowledge_extract_memory_max_bytes: int = Field(
        default=1_610_612_736,
        ge=268_435_456,
        description="Address space of the process that reads documents.",
    )
    vector_index: Literal["chroma", "off"] = Field(
        default="chroma", description="What finds passages by meaning; `off`: keywords alone."
    )
    chroma_url: str = Field(
        default="",
        pattern=r"^(https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?)?$",
        description="A Chroma server for the vectors, http://host:port; empty: embedded, in `home`.",
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

    def key_passphrase(self) -> bytes | None:
        """What opens the hub's encrypted keys; None if nothing is said. Raises `ConfigError` if the file is unfit."""
        # Most commands need no key, and start without its libraries.
        from cloud.keys.vault import passphrase_in

        given = os.environ.get(CREDENTIALS_VARIABLE)
        credential = None if given is None else Path(given) / KEYS_CREDENTIAL
        path = credential if credential is not None and credential.is_file() else self.key_passphrase_file
        return None if path is None else passphrase_in(self.home / path.expanduser())

    @property
    def models_directory(self) -> Path:
        """Where model files are; one folder for all hubs and devices of an account unless something is said."""
        given = self.models_dir or Path(os.environ.get(MODELS_VARIABLE) or DEFAULT_MODELS)
        return (self.home / given.expanduser()).absolute()

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
    def oidc_return_url(self) -> str:
        """As it has to be registered at the identity provider."""
        return self.oidc_redirect_url or f"{self.url}/dashboard/sign-in/return"

    @property
    def certificate_hosts(self) -> list[str]:
        """What the server certificate is for: the public name, and where we listen unless that is everywhere."""
        listening = [host for host in (self.host, self.mqtt_host) if host not in EVERY_ADDRESS]
        return [self.public_host, *listening]

    @property
    def renewal_rules(self) -> RenewalRules:
        return RenewalRules(
            life=timedelta(days=self.device_certificate_days),
            grace=timedelta(days=self.device_renewal_grace_days),
            interval=timedelta(seconds=self.device_renewal_interval_s),
        )

    @property
    def presence_limits(self) -> PresenceLimits:
        return PresenceLimits(
            stale_after=timedelta(seconds=self.presence_stale_after_s),
            lost_after=timedelta(seconds=self.presence_lost_after_s),
            will_grace=timedelta(seconds=self.presence_will_grace_s),
        )

    @property
    def gate_rates(self) -> GateRates:
        return GateRates(
            stranger=Rate(per_s=self.http_open_rate_per_s, burst=self.http_open_burst_requests),
            failed=Rate(per_s=self.http_failed_rate_per_s, burst=self.http_failed_burst_requests),
            caller=Rate(per_s=self.http_caller_rate_per_s, burst=self.http_caller_burst_requests),
            entries_max=self.http_addresses_max,
        )

    @property
    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            max=self.http_connections_max,
            per_address_max=self.http_connections_per_address_max,
            head_timeout_s=self.http_head_timeout_s,
            trusted_proxies=self.trusted_proxies,
        )

    @property
    def extraction_limits(self) -> ExtractionLimits:
        return ExtractionLimits(
            content_max_bytes=self.knowledge_document_max_bytes,
            wall_max_s=self.knowledge_extract_max_s,
            cpu_max_s=self.knowledge_extract_max_s,
            memory_max_bytes=self.knowledge_extract_memory_max_bytes,
        )

    @property
    def question_limits(self) -> QuestionLimits:
        return QuestionLimits(
            waiting_max=self.question_waiting_max,
            worth_s=self.question_worth_s,
            attempts_max=self.question_attempts_max,
            retry_s=self.question_retry_s,
        )

    @property
    def device_rate(self) -> DeviceRate:
        return DeviceRate(
            messages=Rate(per_s=self.ingest_device_rate_per_s, burst=self.ingest_device_burst_messages),
            bytes=Rate(per_s=self.ingest_device_bytes_per_s, burst=self.ingest_device_burst_bytes),
        )

    @property
    def revocation_file(self) -> Path:
        """The list that the broker reads."""
        return self.crl_file or self.broker_directory / "revoked.pem"

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


def find_token_file(given: Path | None, home: Path) -> Path:
    """What shows this program to a hub: as given, else from COVEY_HUB_TOKEN_FILE, else the admin token in `home`."""
    said = os.environ.get(TOKEN_FILE_VARIABLE)
    return given or (Path(said).expanduser() if said else home / "admin.token")


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
