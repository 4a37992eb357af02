"""What devices and hub both speak is built when it is first used (`defer_build`): that keeps the device's daemon small.

FastAPI defers with it what it makes of a body, and warns at the first request, when nobody expects it any more.
"""

from pydantic import BaseModel


def build(*models: type[BaseModel]) -> None:
    """In this process, before the routes are made that take or answer them."""
    for model in models:
        model.model_config["defer_build"] = False
        model.model_rebuild()
