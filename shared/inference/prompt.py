"""Messages to prompt tokens, by the chat template that the model file carries.

Text from outside must never become control tokens: "<|im_end|>" in a message is eleven characters, not the end of
a turn. So the template is rendered with a random mark in the place of each message's content; only the template's
own text between the marks is tokenised with control tokens, the contents without.
"""

import re
import secrets
from collections.abc import Sequence

from shared.errors import ConfigError, ProtocolError
from shared.inference.native import Weights
from shared.inference.ports import Message

MARK_BYTES = 12


class PromptWriter:
    """Raises: ConfigError for a model without a chat template, or with one that cannot be read."""

    def __init__(self, weights: Weights) -> None:
        from jinja2 import TemplateError
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = weights.chat_template
        if template is None:
            raise ConfigError(f"The model {weights.name} has no chat template: install an instruct model.")
        self._weights = weights
        self._template_error: type[Exception] = TemplateError
        try:
            self._formatter = Jinja2ChatFormatter(
                template=template, bos_token=weights.start_text, eos_token=weights.end_text
            )
        except TemplateError as exc:
            raise ConfigError(f"The chat template of {weights.name} cannot be read: {exc}.") from exc

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Raises: ProtocolError when the template refuses this order of roles."""
        nonce = secrets.token_hex(MARK_BYTES)
        marked = [{"role": m.role, "content": f"{nonce}:{index}:"} for index, m in enumerate(messages)]
        try:
            text = self._formatter(messages=marked).prompt  # type: ignore[arg-type]  # its types name more roles
        except (self._template_error, ValueError) as exc:
            raise ProtocolError(f"The model's chat template refuses these messages: {exc}.") from exc
        start = self._weights.start_token
        tokens: list[int] = []
        for index, segment in enumerate(re.split(rf"{nonce}:(\d+):", text)):
            if index % 2:
                tokens += self._weights.tokenize(messages[int(segment)].content, parse_special=False)
            else:
                tokens += self._weights.tokenize(segment, parse_special=True)
        if start is not None and tokens[:1] != [start]:
            tokens.insert(0, start)
        return tokens
