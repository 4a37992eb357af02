"""What a tool is known by. Pure; apart from the detectors, since a device looks at its tools also when it is idle."""

import hashlib
import json
from collections.abc import Mapping


def tool_digest(description: str, parameters: Mapping[str, object]) -> str:
    """SHA-256 in hex over what a model is told of a tool. The order of keys does not count.

    Raises: ValueError or TypeError for parameters that are not JSON.
    """
    text = json.dumps([description, parameters], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
