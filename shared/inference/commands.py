"""`… model install | list | bench | remove`, the same for the device's and the hub's command line.

Parse, call, print. Errors go up to whoever runs the command line, which shows them as one sentence. What does the work
is imported by the command that needs it, since the other commands of a program start faster without.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from shared.inference.install import InstalledModel

PIPED_WIDTH: Final = 200

Directory = Callable[[typer.Context], Path]
"""Where a program keeps its models, for a command line."""

Name = Annotated[str, typer.Argument(help="A name from `model list`.", show_default=False)]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir", help="Where models live.", show_default="the setting models_dir", file_okay=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def model_commands(directory: Directory) -> typer.Typer:
    """The group `model`. `directory` is asked where no `--models-dir` is given."""
    group = typer.Typer(name="model", help="Install, list, measure and remove models.", no_args_is_help=True)

    @group.command("install")
    def install_command(
        context: typer.Context,
        name: Name,
        source: Annotated[
            str | None,
            typer.Option(
                "--from", help="A file, a directory or an https address to take it from.", show_default=False
            ),
        ] = None,
        models_dir: ModelsDir = None,
    ) -> None:
        """Fetch a model, check it, and prepare it for this CPU. Run it again to go on with an interrupted one."""
        from shared.inference.install import install
        from shared.inference.progress import ConsoleProgress

        with ConsoleProgress() as progress:
            model = install(
                name,
                models_dir=models_dir or directory(context),
                source_override=source,
                progress=progress,
            )
        typer.echo(str(model.path))

    @group.command("list")
    def list_command(context: typer.Context, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
        """The models of the catalogue, and which of them are installed here."""
        _print_models(models_dir or directory(context), as_json=as_json)

    @group.command("bench")
    def bench_command(
        context: typer.Context,
        name: Name,
        models_dir: ModelsDir = None,
        as_json: AsJson = False,
        threads: Annotated[
            int, typer.Option(help="Compute threads; 0 is one for each processor.", min=0)
        ] = 0,
    ) -> None:
        """How fast an installed model loads, reads and writes on this machine, and its resident size."""
        _print_bench(name, models_dir or directory(context), threads=threads, as_json=as_json)

    @group.command("remove")
    def remove_command(context: typer.Context, name: Name, models_dir: ModelsDir = None) -> None:
        """Delete an installed model and what is left of an interrupted installation."""
        from shared.inference.install import remove

        remove(name, models_dir=models_dir or directory(context))
        typer.echo(f"{name} is removed.")

    return group


def _print_models(models_dir: Path, *, as_json: bool) -> None:
    from shared.inference.catalogue import load_catalogue
    from shared.inference.install import list_models

    installed = {model.name: model for model in list_models(models_dir)}
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "kind": str(entry.kind),
            "licence": entry.licence,
            "context_tokens": entry.context_tokens,
            "memory_mb": entry.memory_mb,
            "download_mb": round(entry.delivered_bytes / 1e6),
            "installed": _facts(installed[entry.name]) if entry.name in installed else None,
        }
        for entry in load_catalogue().models
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = ("name", "kind", "context_tokens", "memory_mb", "download_mb", "licence", "installed")
    _print_table(
        ("model", "kind", "context", "memory MB", "download MB", "licence", "installed"),
        [[("yes" if row[c] else "no") if c == "installed" else str(row[c]) for c in columns] for row in rows],
    )


def _print_bench(name: str, models_dir: Path, *, threads: int, as_json: bool) -> None:
    from shared.inference.bench import bench_model
    from shared.inference.install import find_installed

    result = bench_model(find_installed(models_dir, name), threads=threads).model_dump(mode="json")
    figures = {key: value for key, value in result.items() if value is not None}
    if as_json:
        typer.echo(json.dumps(figures))
        return
    _print_table(("figure", "value"), [[key, str(value)] for key, value in figures.items()])


def _facts(model: "InstalledModel") -> dict[str, object]:
    return {
        "path": str(model.path),
        "sha256": model.sha256,
        "size_bytes": model.manifest.size_bytes,
        "installed_at": model.manifest.installed_at.isoformat(),
    }


def _print_table(headings: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH  # nothing is cut off for grep
    console.print(table)
