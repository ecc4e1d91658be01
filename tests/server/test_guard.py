"""Other sites and other machines are kept out; what comes in is JSON and short."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from glassformer.cli.serve import listen
from glassformer.errors import GlassformerError
from glassformer.server.guard import BODY_BYTES, ONCE, Guard, check_bind
from tests.server.served import client, error

server = client()
TOKEN = "open-sesame"
JSON = {"content-type": "application/json"}
BODY = {"run": "miniature", "text": "the cat"}


OURS = ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:80", "[::1]"]
NOT_OURS = {
    "empty": "",
    "another name": "evil.example",
    "ours, then another name": "127.0.0.1.evil.example",
    "a name within a foreign one": "localhost.evil.example:8000",
    "no end of the brackets": "[::1",
    "something after the brackets": "[::1]evil.example",
    "a user before it": "user@localhost",
    "our name as a user": "localhost@evil.example",
    "a port that is none": "localhost:x",
    "no port after the colon": "localhost:",
    "a port beyond all": "localhost:99999",
    "a long port": "localhost:" + "8" * 5000,
    "two ports": "localhost:80:80",
    "a dot at the end": "localhost.",
    "IPv6 without brackets": "::1",
    "IPv6 with a zone": "[::1%lo]",
    "another IPv6": "[::2]",
    "IPv4 in brackets": "[127.0.0.1]",
    "this machine, written otherwise": "2130706433",
    "a space before": " localhost",
    "a space within": "local host",
    "a tab": "localhost\t",
    "a path": "localhost/",
    "two names": "localhost,evil.example",
    "digits of another script": "localhost:\N{SUPERSCRIPT TWO}",
}


@pytest.mark.parametrize("host", OURS)
def test_loopback_names_are_answered(host):
    assert server.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", NOT_OURS.values(), ids=NOT_OURS)
def test_a_foreign_or_malformed_name_that_points_here_is_turned_away(host):
    headers = {"host": host.encode("latin-1")}
    error(server.get("/api/runs", headers=headers), 403, "forbidden")
    error(server.get("/", headers=headers), 403, "forbidden")


@pytest.mark.parametrize("name", ONCE)
def test_a_header_that_could_be_read_in_two_ways_comes_once(name):
    twice = [("host", "127.0.0.1")] * (name != "host") + [(name, "1"), (name, "1")]
    assert f"one {name} header" in error(ask(server, twice), 400, "bad_request")


def test_a_body_has_one_length_and_short_headers():
    both = [("host", "127.0.0.1"), ("content-length", "2"), ("transfer-encoding", "chunked")]
    error(ask(server, both), 400, "bad_request")
    for length in ("-1", "1e3", "+1", "9" * 5000):
        error(ask(server, [*both[:1], ("content-length", length)]), 400, "bad_request")
    long = [*both[:1], ("x", "y" * 65536)]
    error(ask(server, long), 431, "headers_too_large")


def ask(server: TestClient, headers: list[tuple[str, str]]) -> httpx.Response:
    """The answer to a request with these headers and no others, given to the application itself."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/runs",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def asked() -> None:
        await server.app(scope, receive, send)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asked()).result()
    return httpx.Response(sent[0]["status"], content=sent[1]["body"])


def test_whose_body_is_still_awaited_when_the_server_ends_is_told_so():
    head = [(b"host", b"localhost"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": head}
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def ended() -> None:
        asking = asyncio.ensure_future(Guard(server.app)(scope, receive, send))
        await asyncio.sleep(0)
        asking.cancel()
        await asking

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, ended()).result()
    assert sent[0]["status"] == 503
    assert b"the server is ending" in sent[1]["body"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},  # another server on this machine
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_cannot_send_anything(headers):
    error(server.post("/api/tokenize", json=BODY, headers=headers), 403, "forbidden")


def test_the_page_itself_can():
    same_origin = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert server.post("/api/tokenize", json=BODY, headers=same_origin).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_must_be_json(kind):
    answer = server.post("/api/tokenize", content="{}", headers={"content-type": kind})
    error(answer, 415, "wrong_content_type")


def test_broken_json_is_a_bad_request():
    error(server.post("/api/tokenize", content="{", headers=JSON), 400, "bad_request")


def test_a_number_that_no_program_can_read_is_a_bad_request():
    for number in ("1" * 5000, "NaN", "Infinity", "1e400", "-1e400"):
        content = f'{{"run": "miniature", "token": {number}}}'
        error(server.post("/api/neighbors", content=content, headers=JSON), 400, "bad_request")
        content = f'{{"run": "miniature", "prompt": "the cat", "edits": {{"fwd/embed": {number}}}}}'
        error(server.post("/api/traces", content=content, headers=JSON), 400, "bad_request")
    trace = server.post("/api/traces", json={"run": "miniature", "prompt": "the cat"}).json()["id"]
    asked = {"address": "weight/embed.W_E", "rows": "1" * 5000}
    answer = server.get(f"/api/traces/{trace}/picture", params=asked)
    error(answer, 400, "bad_request")


@pytest.mark.parametrize(
    "edits",
    [
        {"fwd/embed[pos=" + "1" * 400 + "]": 1},
        {"fwd/embed[pos=" + "1" * 5000 + "]": 1},
        {"@step=" + "1" * 400 + " fwd/embed": 1},
        {"fwd/embed[pos=0,d_model=0]": 10**400},
        {"fwd/embed[pos=0,d_model=0]": 1e308},
        {"weight/embed.W_E[vocab=0,d_model=0]": -1e308},
    ],
)
def test_an_edit_beyond_every_bound_is_refused_in_one_line(edits):
    request = {"run": "miniature", "prompt": "the cat", "edits": edits}
    answer = server.post("/api/traces", content=json.dumps(request), headers=JSON)
    assert answer.status_code in (400, 422)
    assert "\n" not in answer.json()["error"]["message"]


def test_brackets_in_brackets_are_a_bad_request():
    for content in ("[" * 100_000, '{"run":' + "[" * 100_000 + "]" * 100_000 + "}"):
        error(server.post("/api/traces", content=content, headers=JSON), 400, "bad_request")


def test_a_long_body_is_refused_whether_or_not_it_tells_its_length():
    content = b'"' + b"a" * BODY_BYTES + b'"'
    error(server.post("/api/tokenize", content=content, headers=JSON), 413, "body_too_large")
    parts = (content[i : i + 65536] for i in range(0, len(content), 65536))
    error(server.post("/api/tokenize", content=parts, headers=JSON), 413, "body_too_large")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_other_machines_are_let_in_only_with_a_token(host):
    with pytest.raises(GlassformerError, match="give a --token"):
        check_bind(host, None)
    with pytest.raises(GlassformerError, match="give a --token"):
        check_bind(host, "")
    check_bind(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9", "::1"])
def test_this_machine_needs_none_and_an_empty_one_is_refused(host):
    check_bind(host, None)
    with pytest.raises(GlassformerError, match="give another --token"):
        check_bind(host, "")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.heavy)])
def test_it_is_reached_where_it_says_that_it_listens(host):
    command = [sys.executable, "-m", "glassformer", "serve", "--no-open", "--host", host]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            assert httpx.get(f"{url}api/runs", timeout=30).status_code == 200
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("path", "request_body", "field"),
    [
        ("/api/traces", {"run": "miniature"}, "body.prompt"),
        ("/api/traces", {"run": "miniature", "prompt": "the", "lens": "yes"}, "body.lens"),
        (
            "/api/traces",
            {"run": "miniature", "prompt": "the", "sampling": {"top_p": 2}},
            "body.sampling.top_p",
        ),
        (
            "/api/traces",
            {"run": "miniature", "prompt": "the", "edits": {"9" * 5000: 1}},
            "body.edits",
        ),
        ("/api/tokenize", {"run": "miniature", "text": None}, "body.text"),
        ("/api/biography", {"run": "miniature", "address": "x", "since": -1}, "body.since"),
        ("/api/neighbors", {"run": "miniature", "token": 0, "near": 1}, "body.near"),
        ("/api/trainings", {"steps": 0.5}, "body.steps"),
    ],
)
def test_a_bad_field_is_a_bad_request_that_names_it(path, request_body, field):
    message = error(server.post(path, json=request_body), 400, "bad_request")
    assert message.startswith(field)
    assert len(message) < 400


def test_an_address_that_is_none_is_refused_in_one_line():
    with pytest.raises(GlassformerError, match="can't listen at nowhere"):
        listen("nowhere.invalid", 0)


def test_with_a_token_nothing_is_answered_without_it():
    locked = client(host="0.0.0.0", token=TOKEN)
    for path in ("/", "/api/runs", "/openapi.json", "/nothing"):
        error(locked.get(path), 401, "unauthorized")
        error(locked.get(path, params={"token": "wrong"}), 401, "unauthorized")
        error(locked.get(path, headers={"authorization": "Bearer wrong"}), 401, "unauthorized")
    error(locked.post("/api/tokenize?token=" + TOKEN, json=BODY), 401, "unauthorized")
    answer = locked.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address():
    locked = client(host="0.0.0.0", token=TOKEN)
    answer = locked.get("/?a=1&token=" + TOKEN, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?a=1"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert locked.get("/api/runs").status_code == 200  # the client keeps the cookie
    again = locked.get("/?token=" + TOKEN, follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/")


def test_two_servers_of_one_host_keep_their_cookies_apart():
    names = set()
    for port in (8001, 8002):
        locked = client(host="0.0.0.0", token=TOKEN)
        locked.base_url = f"http://127.0.0.1:{port}"
        answer = locked.get("/?token=" + TOKEN, follow_redirects=False)
        names.add(answer.headers["set-cookie"].partition("=")[0])
        assert locked.get("/api/runs").status_code == 200
    assert len(names) == 2


def test_a_redirect_never_leads_to_another_site():
    locked = client(host="0.0.0.0", token=TOKEN)
    answer = locked.get(
        f"http://127.0.0.1:8000//evil.example/?token={TOKEN}", follow_redirects=False
    )
    assert answer.headers["location"] == "/evil.example/"


def test_with_a_token_any_name_of_the_machine_is_answered():
    locked = client(host="0.0.0.0", token=TOKEN)
    known = {"authorization": f"Bearer {TOKEN}", "host": "my-laptop.local:8000"}
    assert locked.get("/api/runs", headers=known).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/runs/gone", "/nothing"])
def test_every_answer_forbids_framing_sniffing_and_storing(path):
    headers = server.get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/api/runs", "/v1/models", "/health", "/v1/none"])
def test_head_is_answered_wherever_get_is_and_without_a_body(path):
    got, headed = server.get(path), server.head(path)
    assert headed.status_code == got.status_code
    assert headed.headers == got.headers
    assert headed.content == b""


def test_refusals_carry_them_too():
    assert "content-security-policy" in server.get("/", headers={"host": "evil.example"}).headers


@pytest.mark.parametrize("path", ["/", "/api/runs", "/openapi.json", "/v1/models", "/health"])
def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(path):
    answer = client().request("TRACE", path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    message = f"there is no TRACE {path} here; it takes {answer.headers['allow']}"
    assert answer.json()["error"]["message"] == message
