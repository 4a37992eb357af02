"""Bare llama-cpp-python in a process of its own: the other side of `tests.bench.agent`.

    python -m tests.bench.bare MODEL_FILE CONTEXT_TOKENS

Reads lines of JSON `{messages, max_tokens}`; answers each with a line `{text, pieces, first_s, last_s, finish}`: how
long after the request the first and the last piece of text came. The library's own high-level call, streaming.
"""

import json
import os
import sys
import time
from typing import Any


def serve(model_file: str, context_tokens: int) -> None:
    """Answer until standard input ends."""
    from llama_cpp import Llama

    threads = len(os.sched_getaffinity(0))
    llama = Llama(
        model_file,
        n_ctx=context_tokens,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        verbose=False,
    )
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(llama, json.loads(line))), flush=True)


def _answer(llama: Any, request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    pieces: list[str] = []
    times: list[float] = []
    finish = None
    for chunk in llama.create_chat_completion(
        messages=request["messages"], max_tokens=request["max_tokens"], temperature=0.0, stream=True
    ):
        choice = chunk["choices"][0]
        finish = choice["finish_reason"] or finish
        if text := choice["delta"].get("content"):
            pieces.append(text)
            times.append(time.perf_counter() - started)
    return {
        "text": "".join(pieces),
        "pieces": len(pieces),
        "first_s": times[0],
        "last_s": times[-1],
        "finish": finish,
    }


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
