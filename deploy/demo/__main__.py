"""`./run demo`: a hub, its broker and three devices as real processes, with real local models, tell one story.

Enrol three; ingest a folder of manuals and read answers from them, with sources, at the hub and on a device; ask all
three and read three signed answers at the hub; tell device 3 a fact, cut it off, ask it on site for its fridge, for
what the manuals say, and for what it was told and since when; bring it back and find its offline work at the hub,
complete and in order; kill device 2 in the middle of a task and see it finished without repeating a tool call; verify
every journal on both sides. Each step checks what it claims.
"""

import argparse
import contextlib
import io
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from deploy.demo.knowing import AT_THE_HUB, COLLECTION, WHILE_LINKED
from deploy.demo.stage import Stage
from deploy.demo.story import QUESTION, Story
from edge.settings import default_models_dir

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
STATE: Final = REPOSITORY / ".demo"
INTERRUPTED: Final = 130


def main() -> int:
    """Parse, play, clean up."""
    parser = argparse.ArgumentParser(prog="./run demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--once", action="store_true", help="tell the story, print the summary, stop")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct", help="catalogue name of the model")
    parser.add_argument("--models-dir", type=Path, help="where model files are")
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # whoever reads a pipe sees each step when it is done
    console = Console(highlight=False)
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o700)
    stage = Stage(STATE, options.models_dir or default_models_dir())
    story = Story(console, stage, options.model)
    with _interruptible():
        try:
            held = story.tell()
            console.print(story.summary())
            if not held:
                console.print(Text("demo: failed", "red"))
                return 1
            if not options.once:
                _stay_up(console, story)
        except KeyboardInterrupt:
            console.print("stopping")
            return INTERRUPTED
        finally:
            stage.stop()
    print("demo: ok", flush=True)
    return 0


def _stay_up(console: Console, story: Story) -> None:
    console.print(Text("demo: ok. Everything stays up until Ctrl-C:"))
    console.print(
        Text(f"  hub     {story.hub.url}/ in a browser (admin token in {story.hub.home / 'admin.token'})")
    )
    for device in story.devices:
        if device.child is not None:
            console.print(
                Text(f"  {device.name} {device.child.ready['url']}/v1 (token in {device.home / 'api.token'})")
            )
    hub, first = story.hub.home, story.devices[0].home
    for line in (
        "Try:",
        f'  .venv/bin/covey-hub ask --home {hub} --collection {COLLECTION} "{AT_THE_HUB[0].question}"',
        f'  .venv/bin/covey-edge ask --home {first} "{WHILE_LINKED.question}"',
        f'  .venv/bin/covey-hub task create --home {hub} --device fridge-1 --wait "{QUESTION}"',
    ):
        console.print(Text(line))
    with contextlib.suppress(KeyboardInterrupt):
        while all(device.child is not None and device.child.is_running for device in story.devices):
            time.sleep(1)
        console.print("A device stopped; see its log in .demo/.")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo like Ctrl-C, so that its processes end with it."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
