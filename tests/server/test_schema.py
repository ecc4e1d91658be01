"""The API does what its description says, whatever it is sent."""

import schemathesis
from hypothesis import settings

from glassformer.server.app import create_app
from glassformer.server.runs import Runs

app = create_app(Runs(["miniature"]))
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.parametrize()
@settings(max_examples=15, deadline=None)
def test_every_answer_is_described(case):
    case.call_and_validate()
