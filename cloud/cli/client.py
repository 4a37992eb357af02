"""`covey-hub`'s way to a running hub: verified HTTPS with the admin token or an API token. Foreign errors end here."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from cloud.errors import Problem, error_from_status
from cloud.knowledge.schemas import AnswerView, Question, SentenceView
from cloud.private_files import announcements
from cloud.settings import HubSettings, find_home, find_token_file
from shared.errors import ConfigError, ProtocolError, RefusedError, UnavailableError

TIMEOUT_S: Final = 35.0
"""Longer than the hub waits for its database."""
VERIFY_TIMEOUT_S: Final = 3_600.0
UPLOAD_TIMEOUT_S: Final = 600.0
ANSWER_TIMEOUT_S: Final = 300.0
"""A model that has to be loaded first, on a machine that does other things too."""
PROPOSAL_HEADER: Final = "Covey-Proposal"
"""`cloud.consent.second_person`'s: what was asked for was written down, not done."""
STREAM_TIMEOUT_S: Final = 60.0
"""The hub sends a comment at least each 15 s."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach a hub. What is None is found in the hub's home directory."""

    home: Path | None = None
    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


class HubClient:
    """A session with one hub. Use as a context manager. Raises only `CoveyError`s."""

    def __init__(self, connection: Connection, *, has_token: bool = True, token: str | None = None) -> None:
        """`has_token` False: for what everybody may ask. `token`: instead of the one in a file."""
        home = find_home(connection.home)
        token_file = find_token_file(connection.token_file, home)
        ca_file = connection.ca_file or home / "identity" / "ca.pem"
        self._url = connection.url or _local_url(home)
        if not self._url.startswith("https://"):
            raise ConfigError(f"{self._url} is not an https:// address; the token travels only there.")
        headers = {}
        if has_token:
            bearer = token or _read(token_file, "token", "--token-file").strip()
            headers["Authorization"] = f"Bearer {bearer}"
        authority = _read(ca_file, "CA certificate", "--ca-file")
        try:
            context = ssl.create_default_context(cadata=authority)
        except ssl.SSLError as error:
            raise ConfigError(f"{ca_file} holds no certificate; give the hub's CA with --ca-file.") from error
        self._http = httpx.Client(
            base_url=self._url,
            verify=context,
            headers=headers,
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, model: type[M], path: str, params: Mapping[str, Any] | None = None) -> M:
        return self._parsed(model, self._request("GET", path, params=params))

    def get_list(self, model: type[M], path: str, params: Mapping[str, Any] | None = None) -> list[M]:
        response = self._request("GET", path, params=params)
        try:
            return TypeAdapter(list[model]).validate_json(response.content)  # type: ignore[valid-type]  # a variable
        except ValidationError as error:
            raise _strange(self._url) from error

    def get_slowly(self, model: type[M], path: str) -> M:
        """For what takes the hub long."""
        return self._parsed(model, self._request("GET", path, timeout=VERIFY_TIMEOUT_S))

    def post(
        self,
        model: type[M],
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> M:
        content = None if body is None else body.model_dump_json(exclude_none=True)
        headers = {"Content-Type": "application/json"}
        response = self._request(
            "POST", path, content=content, headers=headers, params=params, timeout=timeout_s
        )
        return self._parsed(model, response)

    def patch(self, model: type[M], path: str, body: BaseModel, params: Mapping[str, Any] | None = None) -> M:
        content = body.model_dump_json(exclude_none=True)
        headers = {"Content-Type": "application/json"}
        return self._parsed(
            model, self._request("PATCH", path, content=content, headers=headers, params=params)
        )

    def put_bytes(self, model: type[M], path: str, content: bytes, params: Mapping[str, Any]) -> M:
        """The content as it is, which may take its time."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._parsed(
            model,
            self._request(
                "PUT", path, content=content, headers=headers, params=params, timeout=UPLOAD_TIMEOUT_S
            ),
        )

    def put(self, model: type[M], path: str, body: BaseModel) -> M:
        """With the nulls of the body, which may mean something."""
        headers = {"Content-Type": "application/json"}
        content = body.model_dump_json()
        return self._parsed(model, self._request("PUT", path, content=content, headers=headers))

    def download(self, path: str, params: Mapping[str, Any]) -> Iterator[bytes]:
        """The answer's body in pieces, which the hub makes while it is read. Raises before the first if it refuses."""
        with (
            self._translated(),
            self._http.stream("GET", path, params=params, timeout=STREAM_TIMEOUT_S) as response,
        ):
            if response.is_error:
                response.read()
                raise _error_of(response)
            yield from response.iter_raw()

    def delete(self, model: type[M], path: str, params: Mapping[str, Any] | None = None) -> M:
        return self._parsed(model, self._request("DELETE", path, params=params))

    def remove(self, path: str) -> None:
        """For what answers nothing."""
        self._request("DELETE", path)

    def events(self, model: type[M], path: str, event: str) -> Iterator[M]:
        """The stream's events of one kind, until the hub ends it."""
        with (
            self._translated(),
            self._http.stream("GET", path, timeout=STREAM_TIMEOUT_S) as response,
        ):
            if response.is_error:
                response.read()
                raise _error_of(response)
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == event:
                    try:
                        yield model.model_validate_json(line.removeprefix("data: "))
                    except ValidationError as error:
                        raise _strange(self._url) from error

    def ask(self, model: type[M], path: str, body: BaseModel) -> M:
        """What a model has to word first."""
        headers = {"Content-Type": "application/json"}
        content = body.model_dump_json()
        return self._parsed(
            model, self._request("POST", path, content=content, headers=headers, timeout=ANSWER_TIMEOUT_S)
        )

    def answer(self, question: Question) -> Iterator[SentenceView | AnswerView]:
        """The sentences of an answer as they come, and at last the whole."""
        kinds: dict[str, type[SentenceView | AnswerView]] = {"sentence": SentenceView, "answer": AnswerView}
        with (
            self._translated(),
            self._http.stream(
                "POST",
                "/v1/ask",
                content=question.model_dump_json(),
                headers={"Content-Type": "application/json"},
                timeout=ANSWER_TIMEOUT_S,
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise _error_of(response)
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind in kinds:
                    try:
                        yield kinds[kind].model_validate_json(line.removeprefix("data: "))
                    except ValidationError as error:
                        raise self.strange() from error

    def strange(self) -> ProtocolError:
        """What answers there does not speak as a hub does."""
        return _strange(self._url)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._translated():
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise _error_of(response)
        if (proposal := response.headers.get(PROPOSAL_HEADER)) is not None:
            raise RefusedError(
                f"This needs a second person, and nothing was done yet: somebody else has to agree with"
                f" `covey-hub proposal agree {proposal}`.",
                code="needs_second_person",
            )
        return response

    def _parsed(self, model: type[M], response: httpx.Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise _strange(self._url) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise UnavailableError(f"The hub at {self._url} does not answer in time; see its log.") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise RefusedError(
                    f"What answers at {self._url} has no certificate of this hub's CA for that name;"
                    " check --url and --ca-file.",
                    code="wrong_certificate",
                ) from error
            raise UnavailableError(
                f"No hub answers at {self._url}; start one with `covey-hub up`, or say --url."
            ) from error
        except httpx.InvalidURL as error:
            raise ConfigError(f"{self._url} is not an address like https://hub.example:8443.") from error


def segment(name: str) -> str:
    """`name` as one part of a path. Raises `ConfigError` for what would lead to another path: nothing is asked then."""
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise ConfigError(
            f"{name!r} is no name: a name has neither slashes nor control characters, and is not empty."
        )
    return quote(name, safe="")


def _local_url(home: Path) -> str:
    """Where a process of this home listens: as it said when it started, else as its settings say."""
    settings = HubSettings.load(home, {})
    for said in announcements(settings.run_directory):
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(said)["url"])  # a process without HTTPS says none
    return settings.local_url


def _read(path: Path, what: str, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no {what} at {path}; start a hub there with `covey-hub up`, or say --home or {option}."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The {what} at {path} cannot be read; run this as the account that owns the hub."
        ) from error


def _error_of(response: httpx.Response) -> Exception:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _strange(str(response.request.url))
    if problem.code == "unauthorized":
        return RefusedError(
            "The hub does not accept this token; give the right one with --home or --token-file.",
            code="unauthorized",
        )
    return error_from_status(response.status_code, problem)


def _strange(url: str) -> ProtocolError:
    return ProtocolError(f"What answers at {url} is not a hub of this version; check --url.")
