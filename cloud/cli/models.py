"""`covey-hub model …`: the models that this machine's hub embeds and answers with."""

from pathlib import Path

import typer

from cloud.cli.options import home
from cloud.settings import HubSettings
from shared.inference.commands import model_commands


def _directory(context: typer.Context) -> Path:
    return HubSettings.load(home(context), {}).models_directory


app = model_commands(_directory)
