"""NiceGUI on the hub's application: its configuration, our pages, and the nonce on its scripts.

Importing this imports NiceGUI (a third of a second, 25 MB), so only the process that serves the page does. NiceGUI's
application is one for the process: mount it once.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from jinja2 import BaseLoader, Environment
from nicegui import app as nicegui_app
from nicegui import core, ui
from nicegui.client import Client, templates

from cloud.access import Needs
from cloud.caller import Caller, Permission
from cloud.dashboard.device_page import DeviceView
from cloud.dashboard.door import HOME_PATH, PREFIX
from cloud.dashboard.elements import Tag, Text
from cloud.dashboard.fleet_page import Choices, FleetView
from cloud.dashboard.fleet_reading import read_choices
from cloud.dashboard.frame import empty_state
from cloud.dashboard.live import DeviceAnswer, FleetAnswer, Live, MemoryAnswer, Watcher
from cloud.dashboard.memory_page import MemoryView
from cloud.dashboard.query import DeviceQuery, FleetQuery, MemoryQuery
from cloud.dashboard.shown import shown
from cloud.db import Database
from shared.errors import UnavailableError

TITLE: Final = "Covey"
WEB: Final = Path(__file__).parent / "web"
RECONNECT_TIMEOUT_S: Final = 10.0
"""A page whose connection was cut for less goes on where it was; after more it is loaded anew."""
RESPONSE_TIMEOUT_S: Final = 30.0
MESSAGES_KEPT: Final = 200
"""For a page that was cut off: about as many as a poll a second makes within the time above."""
ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0b6b57"/>'
    '<circle cx="5" cy="6" r="2" fill="#fff"/><circle cx="11" cy="6" r="2" fill="#fff"/>'
    '<circle cx="8" cy="11" r="2" fill="#fff"/></svg>'
)


def mount_dashboard(app: FastAPI, *, database: Database, live: Live, default_tenant: str) -> None:
    """Add the pages below `PREFIX`. Who may see them is the door's business (`cloud.dashboard.door`)."""
    _add_pages(database, live, default_tenant)
    _add_style()
    _add_nonces(templates.env)
    # Only websockets: the door looks at one request, and a socket ends with its session.
    nicegui_app.config.socket_io_js_transports = ["websocket"]
    core.sio.eio.transports = ["websocket"]
    ui.run_with(
        app,
        title=TITLE,
        favicon=ICON,
        dark=None,  # as the system has it
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        message_history_length=MESSAGES_KEPT,
        mount_path=PREFIX,
        tailwind=False,
        show_welcome_message=False,
    )


def _add_pages(database: Database, live: Live, default_tenant: str) -> None:
    def choices(caller: Caller) -> Choices:
        with database.read() as session:
            sites, groups = read_choices(session, caller.tenant)
        return Choices(sites=sites, groups=groups, default_tenant=caller.tenant or default_tenant)

    @ui.page("/", title=f"Fleet · {TITLE}", response_timeout=RESPONSE_TIMEOUT_S)
    async def fleet(request: Request, client: Client) -> None:
        caller = _reader(request)
        query = FleetQuery.from_address(dict(request.query_params), caller.tenant)
        try:
            chosen = await asyncio.to_thread(choices, caller)
            answer, at_ms = await live.ask(query)
        except UnavailableError as error:
            _unavailable(client, error)
            return
        assert isinstance(answer, FleetAnswer)
        _watch(live, client, FleetView(live, query, chosen, answer, at_ms))

    @ui.page("/device/{principal}", response_timeout=RESPONSE_TIMEOUT_S)
    async def device(request: Request, principal: str, client: Client) -> None:
        caller = _reader(request)
        client.title = f"{shown(principal)} · {TITLE}"
        query = DeviceQuery(principal=principal, tenant=caller.tenant)
        try:
            answer, at_ms = await live.ask(query)
        except UnavailableError as error:
            _unavailable(client, error)
            return
        assert isinstance(answer, DeviceAnswer)
        if answer.page is None or answer.metrics is None:
            client.status_code = 404
            with Tag("div", "content"):
                Text("h1", "There is no such device")
                empty_state(shown(principal), "These are enrolled:", "covey-hub device list")
                Text("a", "All devices", "button", href=HOME_PATH)
            return
        view = DeviceView(
            live,
            query,
            answer.page,
            answer.metrics,
            at_ms,
            caller=caller,
            default_tenant=caller.tenant or default_tenant,
        )
        _watch(live, client, view)

    @ui.page("/memory", title=f"Memory · {TITLE}", response_timeout=RESPONSE_TIMEOUT_S)
    async def memory(request: Request, client: Client) -> None:
        caller = _reader(request)
        query = MemoryQuery(caller.tenant or default_tenant)
        try:
            answer, at_ms = await live.ask(query)
        except UnavailableError as error:
            _unavailable(client, error)
            return
        assert isinstance(answer, MemoryAnswer)
        _watch(live, client, MemoryView(query, answer.page, at_ms, caller=caller))


def _reader(request: Request) -> Caller:
    """Who looks at a page: the door let them in. Raises `RefusedError` (code `forbidden`) for who may not read."""
    return Needs(Permission.READ)(request)


def _unavailable(client: Client, error: UnavailableError) -> None:
    client.status_code = 503
    with Tag("div", "content"):
        Text("h1", "The hub cannot show this now")
        Text("p", str(error))
        Text("a", "Try again", "button", href="")


def _watch(live: Live, client: Client, watcher: Watcher) -> None:
    """Only while a browser is there: a page that was fetched and never opened, or was closed, asks for nothing."""
    client.on_connect(lambda: live.watch(watcher))
    client.on_disconnect(lambda: live.forget(watcher))
    client.on_delete(lambda: live.forget(watcher))


def _add_style() -> None:
    """Our style, under an address that changes with it."""
    file = WEB / "covey.css"
    path = f"/assets/{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}/covey.css"
    nicegui_app.add_static_file(local_file=file, url_path=path)
    ui.add_head_html(f'<link rel="stylesheet" href="{PREFIX}{path}">', shared=True)


def _add_nonces(environment: Environment) -> None:
    """The request's nonce on each script of NiceGUI's template, in its source.

    A script that gets into a page in any other way has none, and does not run.
    """
    loader = environment.loader
    assert loader is not None
    environment.loader = _NonceLoader(loader)


class _NonceLoader(BaseLoader):
    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, is_current = self._inner.get_source(environment, template)
        marked = source.replace("<script", '<script nonce="{{ request.state.csp_nonce }}"')
        return marked, name, is_current
