"""The API does what its description says, whatever it is sent."""

import tempfile
from pathlib import Path

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from scripts import api
from tests.examples import examples

HOST = {"host": "127.0.0.1"}

# A request may be well formed and still ask for what can't be done: a word that the model does not
# know, a prompt that is too long. That is 422, or 400 and 416 for a range of bytes.
ANSWERS = ["2xx", 400, 404, 409, 416, 422]
CONFIG = SchemathesisConfig.from_dict(
    {
        "request-timeout": 120,  # as the server's own; the course's first answer trains a model
        "checks": {
            "positive_data_acceptance": {"expected-statuses": ANSWERS},
            "negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]},  # 413: too long
        },
    }
)

app = create_app(Runs(["miniature"]), folder=Path(tempfile.mkdtemp()))
clients = schemathesis.openapi.from_asgi("/v1/openapi.json", app, headers=HOST, config=CONFIG)
schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST, config=CONFIG)


@pytest.fixture(autouse=True, scope="module")
def train_nothing():
    """Trainings end at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glassformer.server.trainings.TRAIN", ["true"])
        yield


def test_the_pages_types_are_made_from_the_api_as_it_is():
    assert api.FILE.read_text(encoding="utf-8") == api.description(), "run python scripts/api.py"


@schema.parametrize()
@examples(5)
def test_every_answer_is_described(case):
    case.call_and_validate(headers=HOST)


@clients.parametrize()
@examples(5)
def test_every_answer_to_clients_is_described(case):
    case.call_and_validate(headers=HOST)
