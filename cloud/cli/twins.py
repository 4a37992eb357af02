"""`covey-hub twin …`: what devices shall run, and what they say that they run."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection
from cloud.twins.schemas import LayerPage, LayerView, PutLayer, TwinView
from shared.errors import ConfigError, ConflictError
from shared.twin import Document

app = typer.Typer(
    help="Desired settings in layers (fleet, site, group, device; the narrower wins), and what devices run.",
    no_args_is_help=True,
)

PAGE_ROWS: Final = 500
TRIES: Final = 5
"""How often a change is made anew when somebody else wrote in between."""

Fleet = Annotated[bool, typer.Option("--fleet", help="The settings of all devices.")]
Site = Annotated[str | None, typer.Option("--site", help="Those of the devices with label site=….")]
Group = Annotated[str | None, typer.Option("--group", help="Those of the devices with label group=….")]
Device = Annotated[str | None, typer.Option("--device", help="Those of one device: NAME, or TENANT.NAME.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Of another tenant than the hub's own.")]
Expect = Annotated[
    int | None,
    typer.Option("--expect", min=0, help="Write only if the revision is this one (0: never written)."),
]


@app.command("show")
def show_(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")],
    as_json: AsJson = False,
) -> None:
    """What a device shall run, what it says that it runs, and the difference."""
    with HubClient(connection(context)) as hub:
        view = hub.get(TwinView, f"{device_path(device)}/twin")
    if as_json:
        show.as_json(view)
    else:
        _show_twin(view)


@app.command("list")
def list_(context: typer.Context, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """All layers that were ever written."""
    found: list[LayerView] = []
    after: str | None = ""
    with HubClient(connection(context)) as hub:
        while after is not None:
            params = {"after": after, "limit": PAGE_ROWS, **({} if tenant is None else {"tenant": tenant})}
            page = hub.get(LayerPage, "/v1/twins", params)
            found += page.layers
            after = page.next
    if as_json:
        show.as_json(found)
    else:
        cells = [
            (_title(layer), str(layer.revision), show.moment(layer.updated_at), _one_line(layer.document))
            for layer in found
        ]
        show.table(show.rows(("layer", "revision", "changed", "settings"), cells))


@app.command("get")
def get(
    context: typer.Context,
    fleet: Fleet = False,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """One layer."""
    path = _layer_path(fleet=fleet, site=site, group=group, device=device, tenant=tenant)
    with HubClient(connection(context)) as hub:
        layer = hub.get(LayerView, path)
    _show_layer(layer, as_json=as_json)


@app.command("set")
def set_(
    context: typer.Context,
    assignments: Annotated[list[str], typer.Argument(metavar="KEY.PATH=VALUE…")],
    fleet: Fleet = False,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    tenant: Tenant = None,
    expect: Expect = None,
    as_json: AsJson = False,
) -> None:
    """Change settings of a layer. A value is JSON, or else text; null takes away what wider layers say."""
    changes = [_assignment(text) for text in assignments]

    def change(document: Document) -> Document:
        for path, value in changes:
            document = _with_value(document, path, value)
        return document

    path = _layer_path(fleet=fleet, site=site, group=group, device=device, tenant=tenant)
    _change(context, path, change, expect=expect, as_json=as_json)


@app.command("unset")
def unset(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY.PATH…")],
    fleet: Fleet = False,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    tenant: Tenant = None,
    expect: Expect = None,
    as_json: AsJson = False,
) -> None:
    """Take settings out of a layer: what wider layers say counts again."""

    def change(document: Document) -> Document:
        for key in keys:
            document = _without(document, _key_path(key))
        return document

    path = _layer_path(fleet=fleet, site=site, group=group, device=device, tenant=tenant)
    _change(context, path, change, expect=expect, as_json=as_json)


@app.command("replace")
def replace(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A file with a JSON object; - reads standard input.")],
    fleet: Fleet = False,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    tenant: Tenant = None,
    expect: Expect = None,
    as_json: AsJson = False,
) -> None:
    """Put a whole layer in the place of what it is. `{}` empties it; its revision grows all the same."""
    document = _read_document(file)
    path = _layer_path(fleet=fleet, site=site, group=group, device=device, tenant=tenant)
    _change(context, path, lambda _: document, expect=expect, as_json=as_json)


def _change(
    context: typer.Context,
    path: str,
    change: Callable[[Document], Document],
    *,
    expect: int | None,
    as_json: bool,
) -> None:
    """Read, change, write what was read; with `expect` only if that is what the person had seen."""
    with HubClient(connection(context)) as hub:
        for attempt in range(1, TRIES + 1):
            layer = hub.get(LayerView, path)
            request = PutLayer(
                document=change(layer.document),
                expected_revision=layer.revision if expect is None else expect,
            )
            try:
                layer = hub.put(LayerView, path, request)
            except ConflictError:
                if expect is not None or attempt == TRIES:
                    raise
                continue
            _show_layer(layer, as_json=as_json)
            return


def _layer_path(
    *, fleet: bool, site: str | None, group: str | None, device: str | None, tenant: str | None
) -> str:
    named = {"site": site, "group": group, "device": device}
    chosen = [(scope, name) for scope, name in named.items() if name is not None]
    if len(chosen) + fleet != 1:
        raise ConfigError("Say whose settings: one of --fleet, --site S, --group G or --device D.")
    path = "/v1/twins/fleet" if fleet else "/v1/twins/{}/{}".format(*(segment(part) for part in chosen[0]))
    if tenant is None:
        return path
    if device is not None:
        raise ConfigError("A device of another tenant is named --device TENANT.NAME.")
    return f"{path}?tenant={quote(tenant, safe='')}"


def _assignment(text: str) -> tuple[list[str], Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"{text} is not of the form key.path=value.")
    return _key_path(key), _value(value)


def _key_path(text: str) -> list[str]:
    path = text.split(".")
    if not all(path):
        raise ConfigError(f"{text!r} is not a key, or keys with dots between them.")
    return path


def _value(text: str) -> Any:
    """JSON if it is, else the text itself: `debug` need not be quoted, and `\"60\"` is no number."""
    try:
        return json.loads(text, parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    """Raises `ConfigError`: beyond what a float holds it would become infinity, which JSON cannot say."""
    value = float(text)
    if not math.isfinite(value):
        raise ConfigError(f"{text} is larger than any number that can be set.")
    return value


def _with_value(document: Document, path: Sequence[str], value: object) -> Document:
    first, *rest = path
    if rest:
        inner = document.get(first)
        value = _with_value(inner if isinstance(inner, dict) else {}, rest, value)
    return {**document, first: value}


def _without(document: Document, path: Sequence[str]) -> Document:
    first, *rest = path
    inner = document.get(first)
    if not rest:
        return {key: value for key, value in document.items() if key != first}
    return {**document, first: _without(inner, rest)} if isinstance(inner, dict) else document


def _read_document(file: str) -> Document:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not JSON in UTF-8.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file} does not hold a JSON object.")
    return document


def _show_layer(layer: LayerView, *, as_json: bool) -> None:
    if as_json:
        show.as_json(layer)
        return
    show.line(f"{_title(layer)}: revision {layer.revision}")
    cells = [(key, _one_line(value)) for key, value in sorted(layer.document.items())]
    if cells:
        show.table(show.rows(("setting", "value"), cells))


def _show_twin(view: TwinView) -> None:
    reported = view.reported
    runs = "never reported" if reported is None else f"reported revision {reported.revision}"
    show.line(f"{view.principal}: {view.state}; desired revision {view.revision}, {runs}")
    if view.ordered is not None:
        taken = "acknowledged" if view.ordered.is_acknowledged else "not acknowledged yet"
        show.line(f"ordered: revision {view.ordered.revision} at {show.moment(view.ordered.at)}, {taken}")
    layers = ", ".join(f"{_title(layer)} {layer.revision}" for layer in view.layers)
    show.line(f"layers and their revisions: {layers}")
    document = {} if reported is None else reported.document
    cells = [
        (
            name,
            _one_line(view.desired[name]) if name in view.desired else "",
            _one_line(document[name]) if name in document else "",
            view.refused.get(name, "differs" if name in view.difference else ""),
        )
        for name in sorted({*view.desired, *document, *view.refused})
    ]
    if cells:
        show.table(show.rows(("setting", "desired", "reported", ""), cells))


def _title(layer: LayerView) -> str:
    return layer.scope if layer.name is None else f"{layer.scope} {layer.name}"


def _one_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
