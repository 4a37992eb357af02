"""schemathesis over the real application: whatever is sent, no 5xx, and every answer is as the document says.

As the hub's administrator, so that nothing is refused at the door. Half of the requests name real objects, or nearly
all of them would end at an id that is not there.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.cloud.doors.examples import EXAMPLES
from tests.cloud.doors.world import World, open_world
from tests.cloud.hub_api import ADMIN_TOKEN

pytestmark = pytest.mark.slow

EXAMPLES_MAX: Final = 10
"""Requests to an operation: half of data that fits its schema, half of data that does not."""
FITTING: Final = schemathesis.GenerationMode.POSITIVE
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own: what is sent here changes it."""
    with open_world(tmp_path_factory.mktemp("fuzzed") / "hub") as opened:
        yield opened


@pytest.fixture(scope="module")
def schema(fuzzed: World) -> Any:
    return schemathesis.openapi.from_asgi(
        "/v1/openapi.json", fuzzed.app, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_whatever_is_sent_is_answered_as_described(fuzzed: World, schema: Any, name: str) -> None:
    method, path = name.split()
    operation = schema[path][method]
    real = parameters(path, EXAMPLES[name](fuzzed).path)
    # Without parameters and body there is nothing to be wrong.
    modes = list(schemathesis.GenerationMode) if "{" in path or takes_anything(operation) else [FITTING]

    @settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]), is_real=st.booleans()
    )
    def sent(case: Any, is_real: bool) -> None:
        if is_real and real:
            case.path_parameters = dict(real)
        case.call_and_validate(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, checks=CHECKS)

    sent()


def takes_anything(operation: Any) -> bool:
    raw = operation.definition.raw
    return bool(raw.get("parameters") or raw.get("requestBody"))


def parameters(template: str, path: str) -> dict[str, str]:
    """What stands in `path` for the parameters of `template`."""
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(template))
    match = re.fullmatch(pattern, path)
    assert match is not None, (template, path)
    return match.groupdict()
