"""`covey-edge knowledge`: what this device holds, finding passages in it, and whether it is as it was written.

Through the running daemon, or in the library itself when none runs: with a link or without.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.console import plain, show_table
from edge.here import told as told_here
from edge.local_api import request
from edge.settings import load_settings
from shared.errors import ProtocolError, RefusedError

if TYPE_CHECKING:
    from edge.daemon import Daemon

knowledge_app = typer.Typer(
    help="The collections of documents that this device holds (setting knowledge).", no_args_is_help=True
)

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SEARCH_TIMEOUT_S = 120.0
"""The first search may load the embedding model and mend the index."""
TEXT_SHOWN_CHARS = 400


@knowledge_app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """Each collection that is wanted or held: its revision, the part that is here, what is offered, what is wrong."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        return {"collections": daemon.knowledge.status(), "problem": daemon.knowledge.problem}

    told = told_here(settings, lambda: request(settings, "GET", "/knowledge"), here)
    if as_json:
        print(json.dumps(told))
        return
    rows = told["collections"]
    if not rows:
        print("No collection: name some in the setting knowledge, here in edge.toml or at the hub.")
        return
    show_table(
        [("collection", "revision", "chunks", "offered", "labels", "problem")]
        + [
            (
                row["collection"],
                "-" if row["revision"] is None else str(row["revision"]),
                f"{row['held_chunks']}/{row['chunks']}",
                "-" if row["offered"] is None else str(row["offered"]),
                ", ".join(row["labels"]) or "-",
                row["problem"] or "-",
            )
            for row in rows
        ]
    )
    if told["problem"]:
        print(f"covey-edge: {told['problem']}", file=sys.stderr)


@knowledge_app.command()
def search(
    query: str,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="Only in these; all that is held if none.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100, help="How many passages.")] = 5,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Passages that fit best, each with where it stands."""
    if not query.strip():
        raise RefusedError("Say what to look for: the query is empty.")
    settings, _ = load_settings(home=home)
    names = collection or []
    body = {"query": query, "collections": names, "limit": limit}

    async def here(daemon: "Daemon") -> dict[str, Any]:
        from edge.api.knowledge import describe_found

        return describe_found(await daemon.reading_room.search(query, names, limit=limit))

    found = told_here(
        settings,
        lambda: request(settings, "POST", "/knowledge/search", body, timeout_s=SEARCH_TIMEOUT_S),
        here,
    )
    if as_json:
        print(json.dumps(found))
        return
    for each in found["passages"]:
        text = each["text"]
        cut = text if len(text) <= TEXT_SHOWN_CHARS else f"{text[:TEXT_SHOWN_CHARS]} …"
        print(f"{plain(each['citation'])}\n{plain(cut)}\n")
    if not found["passages"]:
        print("Nothing was found.")
    elif not found["is_supported"]:
        print("None of this is sure to be about it.")
    print(f"Ranked by {found['ranked_by']}.")
    if found["note"]:
        print(f"covey-edge: {found['note']}", file=sys.stderr)


@knowledge_app.command()
def verify(home: Home = None, as_json: Json = False) -> None:
    """Recompute names and authentication codes of all that is held; exit code 76 if anything was altered."""
    settings, _ = load_settings(home=home)

    async def here(daemon: "Daemon") -> dict[str, Any]:
        return {"faults": await daemon.knowledge_lookup.verify()}

    told = told_here(
        settings, lambda: request(settings, "POST", "/knowledge/verify", {}, timeout_s=SEARCH_TIMEOUT_S), here
    )
    faults = told["faults"]
    print(json.dumps(told) if as_json else "\n".join(map(plain, faults)) or "All is as it was written.")
    if faults:
        raise ProtocolError(f"{len(faults)} items are not as this device wrote them.")
