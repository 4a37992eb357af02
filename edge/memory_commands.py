"""`covey-edge memory`: what this device remembers, through the running daemon or in its store when none runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from edge.console import plain, show_table
from edge.here import told
from edge.local_api import request
from edge.settings import load_settings
from shared.errors import ProtocolError, RefusedError
from shared.memory.items import SCOPES, SORTS

if TYPE_CHECKING:
    from edge.daemon import Daemon

memory_app = typer.Typer(
    help="What this device remembers: what was asked and answered, facts, what worked.", no_args_is_help=True
)

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
INDEX_TIMEOUT_S = 600.0
"""The first search may load the embedding model and make the index anew."""
TEXT_SHOWN_CHARS = 200


@memory_app.command()
def search(
    query: str,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100, help="How many items.")] = 5,
    sort: Annotated[
        list[str] | None,
        typer.Option("--sort", help="Only episode, fact, procedure or answer; repeat for several."),
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Only device, site or fleet; repeat for several.")
    ] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also what no longer holds.")] = False,
    since: Annotated[str | None, typer.Option(help="Only what was so at this ISO time or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what was so at this ISO time or earlier.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Find what is remembered: by meaning where the device has an index, else by keywords."""
    if not query.strip():
        raise RefusedError("Say what to look for: the query is empty.")
    if unknown := [each for each in sort or [] if each not in SORTS]:
        raise RefusedError(f"There is no sort {unknown[0]!r} of memory; there are {', '.join(SORTS)}.")
    if unknown := [each for each in scope or [] if each not in SCOPES]:
        raise RefusedError(f"There is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}.")
    settings, _ = load_settings(home=home)
    params: dict[str, str | list[str]] = {
        "q": query, "limit": str(limit), "ended": "true" if ended else "false", "sort": sort or [],
        "scope": scope or [],
    }  # fmt: skip
    params |= {name: value for name, value in (("since", since), ("until", until)) if value is not None}

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe_all
        from edge.api.memory_routes import since_of

        found = await daemon.mind.lookup.search(
            query,
            limit=limit,
            sorts=sort or (),
            scopes=scope or (),
            is_ended_too=ended,
            since_ms=since_of(since),
            until_ms=since_of(until),
        )
        return describe_all(found)

    found = told(
        settings, lambda: request(settings, "GET", "/memory", params=params, timeout_s=INDEX_TIMEOUT_S), here
    )
    if as_json:
        print(json.dumps(found))
        return
    if found["note"]:
        print(f"covey-edge: {found['note']}", file=sys.stderr)
    if found["refused"]:
        print(
            f"covey-edge: {len(found['refused'])} items were left out: this device did not write them so"
            " (`covey-edge memory verify`).",
            file=sys.stderr,
        )
    if not found["found"]:
        print("Nothing like that is remembered.")
        return
    show_table([_row(each) for each in found["found"]])
    print(f"Ranked by {found['ranked_by']}.")


@memory_app.command()
def show(item: str, home: Home = None, as_json: Json = False) -> None:
    """One item with where it comes from."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe

        return describe(await daemon.mind.lookup.show(item))

    found = told(settings, lambda: request(settings, "GET", f"/memory/items/{quote(item, safe='')}"), here)
    if as_json:
        print(json.dumps(found))
        return
    show_table([(name, plain(str(value))) for name, value in found.items() if value not in (None, [], "")])


@memory_app.command()
def add(
    text: Annotated[str, typer.Argument(help="A sentence, for instance: the fridge's limit is 8 °C.")] = "",
    subject: Annotated[str, typer.Option(help="Instead of a sentence: of what or whom.")] = "",
    relation: Annotated[str, typer.Option(help="What about it.")] = "",
    value: Annotated[str, typer.Option(help="What it is.")] = "",
    beside: Annotated[
        bool, typer.Option("--beside", help="Beside other values, instead of ending them.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="Since when it is so, as an ISO time (default now).")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="device; or site or fleet, to propose it to the others through the hub.")
    ] = "device",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Remember a fact. A new value of the same thing ends the one before."""
    settings, _ = load_settings(home=home)
    body = {
        "text": text, "subject": subject, "relation": relation, "value": value, "beside": beside, "scope": scope,
        "since": since,
    }  # fmt: skip

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe_kept
        from edge.api.memory_routes import fact_from, since_of

        chosen = next((each for each in SCOPES if each == scope), None)
        if chosen is None:
            raise RefusedError(f"There is no scope {scope!r}; there are {', '.join(SCOPES)}.", code="invalid")
        fact = fact_from(text=text, subject=subject, relation=relation, value=value, is_beside=beside)
        return describe_kept(await daemon.mind.memory.said(fact, scope=chosen, since_ms=since_of(since)))

    kept = told(settings, lambda: request(settings, "POST", "/memory", body), here)
    print(json.dumps(kept) if as_json else plain(kept["told"]))


@memory_app.command()
def end(item: str, home: Home = None) -> None:
    """Say that an item holds no longer; it stays as history."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        await daemon.mind.memory.end(item)
        return {}

    told(settings, lambda: request(settings, "POST", f"/memory/items/{quote(item, safe='')}/end", {}), here)
    print(f"{item} holds no longer.")


@memory_app.command()
def forget(
    about: Annotated[str, typer.Option("--about", help="A name or a phrase: whatever speaks of it goes.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Forget whatever speaks of something, here and at the hub, and show that nothing remains; exit code 76 if
    something does."""
    settings, _ = load_settings(home=home)

    async def look(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe_mentioned

        return describe_mentioned(await daemon.mind.forgetting.look(about))

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe_forgotten

        return describe_forgotten(await daemon.mind.forgetting.forget(about))

    if not yes:
        found = told(
            settings,
            lambda: request(settings, "POST", "/memory/forget", {"about": about, "dry_run": True}),
            look,
        )
        print(
            f"{found['items']} items of the memory and {found['contents']} contents of the log speak of it, and will be"
            " gone for good.",
            file=sys.stderr,
        )
        if not (found["items"] or found["contents"]) and not found["documents"]:
            print("Nothing speaks of it.")
            return
        typer.confirm("Forget them?", abort=True, err=True)
    gone = told(
        settings,
        lambda: request(settings, "POST", "/memory/forget", {"about": about}, timeout_s=INDEX_TIMEOUT_S),
        here,
    )
    remaining = gone["searched"]["remaining"]
    if as_json:
        print(json.dumps(gone))
    else:
        _print_gone(gone)
    if remaining or gone["kept"]:
        raise ProtocolError(f"It is not all gone: {_what_remains(gone)}.")


@memory_app.command()
def forgotten(home: Home = None, as_json: Json = False) -> None:
    """What was forgotten, and whether the hub has forgotten it too."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.memory import describe_request

        requests = await daemon.mind.store.requests()
        return {"requests": [describe_request(each) for each in requests if each.items or each.contents]}

    found = told(settings, lambda: request(settings, "GET", "/memory/forgotten"), here)
    if as_json:
        print(json.dumps(found))
        return
    show_table(
        [("request", "items", "contents", "kept", "done", "hub")]
        + [
            (
                each["request"], str(each["items"]), str(each["contents"]), str(each["kept"]), each["done"] or "-",
                each["hub_done"] or "-",
            )
            for each in found["requests"]
        ]
    )  # fmt: skip


@memory_app.command()
def rebuild(home: Home = None) -> None:
    """Make the index anew from the memory."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        return {"items": await daemon.mind.recall.rebuild()}

    made = told(
        settings, lambda: request(settings, "POST", "/memory/rebuild", {}, timeout_s=INDEX_TIMEOUT_S), here
    )
    print(f"The index holds {made['items']} items.")


@memory_app.command()
def verify(home: Home = None, as_json: Json = False) -> None:
    """Whether all that is remembered, and the index of it, is as this device wrote it; exit code 76 if not."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        return {"faults": await daemon.mind.recall.verify()}

    found = told(
        settings, lambda: request(settings, "POST", "/memory/verify", {}, timeout_s=INDEX_TIMEOUT_S), here
    )
    faults = found["faults"]
    print(json.dumps(found) if as_json else "\n".join(map(plain, faults)) or "All is as it was written.")
    if faults:
        raise ProtocolError(f"{len(faults)} items are not as this device wrote them.")


@memory_app.command()
def stats(home: Home = None, as_json: Json = False) -> None:
    """How much of each sort is remembered, and what bounds it."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        return await daemon.mind.stats()

    found = told(settings, lambda: request(settings, "GET", "/memory/stats"), here)
    if as_json:
        print(json.dumps(found))
        return
    show_table(
        [("sort", "holding", "ended", "at most")]
        + [
            (sort, str(each["holding"]), str(each["ended"]), str(each["max"]))
            for sort, each in found["sorts"].items()
        ]
    )
    print(f"Work to think about: {found['waiting']}. Found {found['found_by']}.")


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    said = plain(each["text"])
    text = said if len(said) <= TEXT_SHOWN_CHARS else f"{said[:TEXT_SHOWN_CHARS]} …"
    when = each["since"] if each["until"] is None else f"{each['since']} to {each['until']}"
    return (each["item"], each["sort"], when, f"{each['score']:.2f}", plain(each["cue"]) or "-", text)


def _print_gone(gone: dict[str, Any]) -> None:
    searched = gone["searched"]
    print(f"{gone['items']} items and {gone['contents']} contents are forgotten (request {gone['request']}).")
    for document in gone["documents"]:
        print(f"It also stands in a document of the hub's: {plain(document)}. Take it out there.")
    remains = _what_remains(gone) or "it stands in none of them"
    print(f"Searched {searched['files']} files, {searched['bytes']} bytes: {remains}.")


def _what_remains(gone: dict[str, Any]) -> str:
    told = (
        [f"it still stands in {', '.join(gone['searched']['remaining'])}"]
        if gone["searched"]["remaining"]
        else []
    )
    if gone["kept"]:
        told.append(f"open work still needs {gone['kept']} contents; forget it again when that has ended")
    return "; ".join(told)
