"""Pick the next token: greedy or sampled, free or under a grammar.

A grammar over a vocabulary of 150,000 costs more than the model itself if every candidate is checked. So, like
llama.cpp's own sampler: pick freely, check that one token, and only when it is refused check the most likely
`NARROW_CANDIDATES`, and only when none of those passes, all. Greedy picks are the same as with a full check.
"""

import ctypes
from typing import TYPE_CHECKING, Any, Final

from shared.errors import ProtocolError
from shared.inference.native import Context, Weights, llama

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    CandidateArray = NDArray[np.void]

# What llama.cpp and Ollama do by default; the port has no such knob, and small models need the tail cut.
TOP_K: Final = 40
NARROW_CANDIDATES: Final = 256
SEED_MODULUS: Final = 0xFFFF_FFFF  # llama.cpp reads this value itself as "random"


class Sampler:
    """Owns native memory: close it."""

    def __init__(
        self,
        weights: Weights,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        grammar: str | None = None,
    ) -> None:
        """Raises: ProtocolError when llama.cpp refuses the grammar."""
        lib = llama()
        self._lib = lib
        self._vocab_size = weights.vocab_size
        self._logits: FloatArray | None = None
        self._logits_at = 0
        self._end_token = int(lib.llama_vocab_eos(weights.vocab))
        self._chain = _chain(lib, temperature, top_p, seed) if temperature > 0 else None
        self._grammar = None
        if grammar is not None:
            self._grammar = lib.llama_sampler_init_grammar(weights.vocab, grammar.encode(), b"root")
            if not self._grammar:
                self.close()
                raise ProtocolError("llama.cpp refuses the grammar of this JSON schema: simplify the schema.")

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler:
                self._lib.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def pick(self, context: Context) -> int:
        """The token after the last evaluated one, accepted by the grammar."""
        token = self._free_pick(context)
        if self._grammar is None:
            return token
        if not self._passes(token):
            token = self._constrained_pick(context)
        self._lib.llama_sampler_accept(self._grammar, token)
        return token

    @property
    def must_end(self) -> bool:
        """The grammar is satisfied and the text may end here; ask only where nothing could follow."""
        return self._grammar is not None and self._passes(self._end_token)

    def _free_pick(self, context: Context) -> int:
        if self._chain is not None:
            return int(self._lib.llama_sampler_sample(self._chain, context.handle, -1))
        return int(self._view(context).argmax())

    def _view(self, context: Context) -> "FloatArray":
        """The logits of the last token, as they lie in llama.cpp's memory."""
        pointer = self._lib.llama_get_logits_ith(context.handle, -1)
        address = ctypes.addressof(pointer.contents)
        if self._logits is None or address != self._logits_at:
            import numpy as np

            self._logits = np.ctypeslib.as_array(pointer, shape=(self._vocab_size,))
            self._logits_at = address
        return self._logits

    def _passes(self, token: int) -> bool:
        one = self._lib.llama_token_data(token, 1.0, 0.0)
        candidates = self._lib.llama_token_data_array(ctypes.pointer(one), 1, -1, False)
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        return bool(one.logit == 1.0)

    def _constrained_pick(self, context: Context) -> int:
        import numpy as np

        logits = self._view(context)
        narrow = min(NARROW_CANDIDATES, self._vocab_size)
        for tokens in (np.argpartition(logits, -narrow)[-narrow:], np.arange(self._vocab_size)):
            allowed = self._allowed(tokens, logits)
            if allowed.size:
                return self._pick_among(allowed)
        raise ProtocolError("No token can continue this JSON schema: simplify the schema.")

    def _allowed(self, tokens: "NDArray[np.intp]", logits: "FloatArray") -> "CandidateArray":
        import numpy as np

        candidates = np.zeros(len(tokens), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        candidates["id"] = tokens
        candidates["logit"] = logits[tokens]
        array = self._array(candidates)
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
        allowed: CandidateArray = candidates[np.isfinite(candidates["logit"])]
        return allowed

    def _pick_among(self, allowed: "CandidateArray") -> int:
        if self._chain is None:
            return int(allowed["id"][allowed["logit"].argmax()])
        array = self._array(allowed)
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _array(self, candidates: "CandidateArray") -> Any:
        data = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(self._lib.llama_token_data))
        return self._lib.llama_token_data_array(data, len(candidates), -1, False)


def _chain(lib: Any, temperature: float, top_p: float, seed: int | None) -> Any:
    params = lib.llama_sampler_chain_default_params()
    params.no_perf = True
    chain = lib.llama_sampler_chain_init(params)
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(TOP_K))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(temperature))
    if top_p < 1.0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(top_p, 1))
    number = SEED_MODULUS if seed is None else seed % SEED_MODULUS
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(number))
    return chain
