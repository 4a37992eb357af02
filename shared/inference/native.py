"""llama.cpp behind two small classes: `Weights` (a loaded file) and `Context` (its evaluated tokens).

The only module that loads, tokenises and evaluates through llama.cpp's C interface (`sampling.py` picks tokens).
Nothing here is thread safe: one worker thread owns every object (`worker.py`). `llama_cpp` is imported on first use,
because it costs tens of megabytes. Everything that llama.cpp would print goes to the debug log.
"""

import ctypes
import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from shared.errors import ConfigError, UnavailableError
from shared.inference.remedy import install_command

logger = logging.getLogger(__name__)

ABORTED: Final = 2
PIECE_BYTES: Final = 64
OPENMP_SPINS: Final = 10_000


class Cancelled(Exception):
    """The caller of this generation has gone. Never leaves the adapters."""


class CancelFlag:
    """A flag which llama.cpp polls between the nodes of its compute graph, set from any thread.

    The abort callback is C's `strlen` on two bytes: "" is 0, go on; "x" is 1, abort. A Python callback would take the
    interpreter lock some six hundred times for each token.
    """

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(2)

    def set(self) -> None:
        self._text[0] = b"x"

    @property
    def is_set(self) -> bool:
        return self._text[0] != b"\0"

    @property
    def address(self) -> int:
        return ctypes.addressof(self._text)


@cache
def share_processors() -> None:
    """Let llama.cpp's threads give way sooner while they wait for one another. Call it before there are other threads.

    They meet some six hundred times for each token, and libgomp lets the one that is early spin three hundred
    thousand times. On two processors with anything else running that spinning takes the time that the late one needs,
    and decoding becomes several times slower; alone on the board spinning less costs a few percent. libgomp reads
    the variable once, when it is loaded; a value that the operator has set stays.
    """
    ctypes.CDLL(None).setenv(b"GOMP_SPINCOUNT", str(OPENMP_SPINS).encode(), 0)


@cache
def llama() -> Any:
    """The C interface of llama.cpp, silenced and initialised. Raises: ConfigError when it is not installed."""
    share_processors()
    try:
        from llama_cpp import llama_cpp as lib
    except ImportError as exc:
        raise ConfigError("llama-cpp-python is not installed: install covey with the extra `edge`.") from exc
    lib.llama_log_set(_log_callback(lib), ctypes.c_void_p(0))
    lib.llama_backend_init()
    return lib


@cache
def _log_callback(lib: Any) -> Any:
    @lib.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
    def log(level: int, text: bytes | None, _user_data: object) -> None:
        del level  # llama.cpp warns and reports errors about things that we report ourselves
        line = (text or b"").decode("utf-8", "replace").rstrip()
        if line.strip("."):  # loading progress is a row of dots
            logger.debug("llama.cpp: %s", line)

    return log


@cache
def _strlen(lib: Any) -> Any:
    return ctypes.cast(ctypes.CDLL(None).strlen, lib.ggml_abort_callback)


def thread_count(threads: int) -> int:
    """0 means every processor this process may use."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_model_file(path: Path, name: str) -> None:
    """Raises: ConfigError with the file and the command that repairs it."""
    # Here, because the device's daemon imports this module at its start.
    from shared.inference.gguf_file import GgufError, read_header

    again = f"install it again with {install_command(name)}."
    try:
        read_header(path)
    except FileNotFoundError as exc:
        message = f"The model file {path} does not exist: install it with {install_command(name)}."
        raise ConfigError(message, code="model_missing") from exc
    except OSError as exc:
        raise ConfigError(
            f"The model file {path} cannot be read ({exc.strerror or exc}).", code="model_broken"
        ) from exc
    except (GgufError, ValueError) as exc:
        raise ConfigError(f"The model file {path} {exc}: {again}", code="model_broken") from exc


class Vocabulary:
    """The tokens of a model file without its weights: a few megabytes, a tenth of a second.

    Unlike everything else here `count` may be called from any thread, also from several: it changes nothing.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        """Raises: ConfigError for a file that is missing, broken or not understood by llama.cpp."""
        check_model_file(path, name)
        lib = llama()
        self._lib = lib
        params = lib.llama_model_default_params()
        params.vocab_only = True
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            message = f"llama.cpp cannot load {path}: install it again with {install_command(name)}."
            raise ConfigError(message, code="model_broken")
        self._vocab = lib.llama_model_get_vocab(self.handle)

    def close(self) -> None:
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None

    def count(self, text: str) -> int:
        """Tokens of the text alone, without those that the model puts around it."""
        data = text.encode("utf-8", "replace")
        # With no room for them, llama.cpp says how many there are, as a negative number.
        return -int(self._lib.llama_tokenize(self._vocab, data, len(data), None, 0, False, False))


class Weights:
    """A model file in memory. `name` is only for messages."""

    def __init__(self, path: Path, *, name: str) -> None:
        """Raises: ConfigError for a file that is missing, broken or not understood by llama.cpp."""
        check_model_file(path, name)
        lib = llama()
        self._lib = lib
        self.name = name
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        if not self.handle:
            message = f"llama.cpp cannot load {path}: install it again with {install_command(name)}."
            raise ConfigError(message, code="model_broken")
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.vocab_size = int(lib.llama_vocab_n_tokens(self.vocab))
        self.width = int(lib.llama_model_n_embd(self.handle))
        self.trained_context_tokens = int(lib.llama_model_n_ctx_train(self.handle))
        self._piece = ctypes.create_string_buffer(PIECE_BYTES)

    def close(self) -> None:
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None

    @property
    def chat_template(self) -> str | None:
        text: bytes | None = self._lib.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8") if text else None

    @property
    def start_token(self) -> int | None:
        """The token which every text must begin with, if the model wants one."""
        if not self._lib.llama_vocab_get_add_bos(self.vocab):
            return None
        return int(self._lib.llama_vocab_bos(self.vocab))

    def token_text(self, token: int) -> str:
        text: bytes | None = self._lib.llama_vocab_get_text(self.vocab, token) if token >= 0 else None
        return text.decode("utf-8", "replace") if text else ""

    @property
    def start_text(self) -> str:
        return self.token_text(int(self._lib.llama_vocab_bos(self.vocab)))

    @property
    def end_text(self) -> str:
        return self.token_text(int(self._lib.llama_vocab_eos(self.vocab)))

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        """`parse_special` makes "<|im_end|>" its control token: only for text that the model's maker wrote."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(
            self.vocab, data, len(data), tokens, room, add_special, parse_special
        )
        if count < 0:
            tokens = (self._lib.llama_token * -count)()
            count = self._lib.llama_tokenize(
                self.vocab, data, len(data), tokens, -count, add_special, parse_special
            )
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for control tokens. Not always whole characters."""
        length = self._lib.llama_token_to_piece(self.vocab, token, self._piece, PIECE_BYTES, 0, False)
        if length >= 0:
            return self._piece.raw[:length]
        larger = ctypes.create_string_buffer(-length)
        return larger.raw[: self._lib.llama_token_to_piece(self.vocab, token, larger, -length, 0, False)]

    def is_end(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token))


class Context:
    """The evaluated tokens of one conversation (the KV cache), and evaluation of more."""

    def __init__(
        self, weights: Weights, *, context_tokens: int, batch_tokens: int, threads: int, flash_attention: bool
    ) -> None:
        """Raises: UnavailableError when llama.cpp cannot get the memory."""
        lib = llama()
        self._lib = lib
        params = lib.llama_context_default_params()
        params.n_ctx = context_tokens
        params.n_batch = params.n_ubatch = min(batch_tokens, context_tokens)
        params.n_threads = params.n_threads_batch = thread_count(threads)
        params.flash_attn_type = (
            lib.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash_attention else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.no_perf = True
        self.handle = lib.llama_init_from_model(weights.handle, params)
        if not self.handle:
            message = (
                f"There is not enough memory for {weights.name} with a context of {context_tokens} tokens."
            )
            raise UnavailableError(message, code="model_memory")
        self._memory = lib.llama_get_memory(self.handle)
        self._batch_tokens = int(params.n_batch)
        self._one = (lib.llama_token * 1)()
        self._one_batch = lib.llama_batch_get_one(self._one, 1)
        self._evaluated: list[int] = []
        self._polled: CancelFlag | None = None

    def close(self) -> None:
        if self.handle:
            self._lib.llama_free(self.handle)
            self.handle = None

    def keep_prefix_of(self, prompt: Sequence[int]) -> int:
        """Forget all but the beginning shared with `prompt`; its length. At least one token stays to evaluate."""
        shared = 0
        for mine, theirs in zip(self._evaluated, prompt[:-1], strict=False):
            if mine != theirs:
                break
            shared += 1
        self._truncate(shared)
        return len(self._evaluated)

    def evaluate(self, tokens: Sequence[int], cancel: CancelFlag) -> None:
        """Raises: Cancelled, after which what was evaluated before stays usable; UnavailableError."""
        self._polled = cancel  # llama.cpp holds its address until the next one comes
        self._lib.llama_set_abort_callback(self.handle, _strlen(self._lib), cancel.address)
        for start in range(0, len(tokens), self._batch_tokens):
            chunk = tokens[start : start + self._batch_tokens]
            array = (self._lib.llama_token * len(chunk))(*chunk)
            self._decode(self._lib.llama_batch_get_one(array, len(chunk)), cancel)
            self._evaluated.extend(chunk)

    def evaluate_next(self, token: int, cancel: CancelFlag) -> None:
        """One more token of the same generation: `evaluate` without its set-up."""
        self._one[0] = token
        self._decode(self._one_batch, cancel)
        self._evaluated.append(token)

    def _decode(self, batch: Any, cancel: CancelFlag) -> None:
        status = 0 if cancel.is_set else self._lib.llama_decode(self.handle, batch)
        if cancel.is_set or status == ABORTED:
            self._truncate(len(self._evaluated))
            raise Cancelled
        if status != 0:
            self._truncate(0)
            raise UnavailableError(f"llama.cpp failed to evaluate the prompt (status {status}); ask again.")

    def _truncate(self, length: int) -> None:
        # A recurrent model cannot forget only the end of what it has seen.
        if not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            self._lib.llama_memory_clear(self._memory, True)
            length = 0
        del self._evaluated[length:]


class Encoder:
    """Sentence vectors from an embedding model: many short texts in one pass, nothing kept between passes."""

    # llama.cpp aborts the process when a pass is not a multiple of the texts in it. Longer passes take more memory, and
    # no less time: what a token costs grows with all tokens of its pass.
    MAX_TEXTS: Final = 32
    PASS_TOKENS: Final = 256
    MAX_PASS_TOKENS: Final = 512

    def __init__(self, weights: Weights, *, pass_tokens: int = PASS_TOKENS) -> None:
        """One compute thread: more encoders do more. `pass_tokens` is raised to a multiple of MAX_TEXTS.

        Raises: UnavailableError when llama.cpp cannot get the memory.
        """
        lib = llama()
        self._lib = lib
        self._width = weights.width
        self.pass_tokens = -(-pass_tokens // self.MAX_TEXTS) * self.MAX_TEXTS
        params = lib.llama_context_default_params()
        # Attention is not causal: a text must fit into one physical batch.
        params.n_ctx = params.n_batch = params.n_ubatch = self.pass_tokens
        params.n_seq_max = self.MAX_TEXTS
        # Attention without it is a matrix of all tokens of the pass by all, which takes more time than the rest.
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = 1
        params.embeddings = True
        params.no_perf = True
        self.handle = lib.llama_init_from_model(weights.handle, params)
        if not self.handle:
            raise UnavailableError(f"There is not enough memory for {weights.name}.", code="model_memory")
        self._batch = lib.llama_batch_init(self.pass_tokens, 0, 1)

    def close(self) -> None:
        if self.handle:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self.handle)
            self.handle = None

    def encode(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One unit vector a text. At most MAX_TEXTS texts with `pass_tokens` tokens together."""
        assert len(texts) <= self.MAX_TEXTS
        assert sum(map(len, texts)) <= self.pass_tokens
        import numpy as np

        batch = self._batch
        at = 0
        for text, tokens in enumerate(texts):
            for position, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, position
                batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, text, True
                at += 1
        batch.n_tokens = at
        if self._lib.llama_encode(self.handle, batch) != 0:
            raise UnavailableError("llama.cpp failed to embed these texts; ask again.")
        vectors = []
        for text in range(len(texts)):
            pointer = self._lib.llama_get_embeddings_seq(self.handle, text)
            vector = np.ctypeslib.as_array(pointer, shape=(self._width,))
            vectors.append((vector / np.linalg.norm(vector)).tolist())
        return vectors
