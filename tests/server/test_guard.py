"""Other sites and other machines are kept out; what comes in is JSON and short."""

import subprocess
import sys

import httpx
import pytest

from glassformer.cli.serve import listen
from glassformer.errors import GlassformerError
from glassformer.server.guard import BODY_BYTES, check_bind
from tests.server.served import client, error

server = client()
TOKEN = "open-sesame"
JSON = {"content-type": "application/json"}
BODY = {"run": "miniature", "text": "the cat"}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:80"])
def test_loopback_names_are_answered(host):
    assert server.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "localhost:x"]
)
def test_a_foreign_name_that_points_here_is_turned_away(host):
    error(server.get("/api/runs", headers={"host": host}), 403, "forbidden")
    error(server.get("/", headers={"host": host}), 403, "forbidden")


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
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert server.post("/api/tokenize", json=BODY, headers=own).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_must_be_json(kind):
    answer = server.post("/api/tokenize", content="{}", headers={"content-type": kind})
    error(answer, 415, "wrong_content_type")


def test_broken_json_is_a_bad_request():
    error(server.post("/api/tokenize", content="{", headers=JSON), 400, "bad_request")


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
def test_this_machine_needs_none(host):
    check_bind(host, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_is_reached_where_it_says_that_it_listens(host):
    command = [sys.executable, "-m", "glassformer", "serve", "--no-open", "--host", host]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            assert httpx.get(f"{url}api/runs", timeout=30).status_code == 200
        finally:
            process.terminate()


def test_an_address_that_is_none_is_refused_in_one_line():
    with pytest.raises(GlassformerError, match="can't listen at nowhere"):
        listen("nowhere.invalid", 0)


def test_with_a_token_nothing_is_answered_without_it():
    locked = client(host="0.0.0.0", token=TOKEN)
    for path in ("/", "/api/runs", "/openapi.json", "/nothing"):
        error(locked.get(path), 401, "unauthorised")
        error(locked.get(path, params={"token": "wrong"}), 401, "unauthorised")
        error(locked.get(path, headers={"authorization": "Bearer wrong"}), 401, "unauthorised")
    error(locked.post("/api/tokenize?token=" + TOKEN, json=BODY), 401, "unauthorised")
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


def test_refusals_carry_them_too():
    assert "content-security-policy" in server.get("/", headers={"host": "evil.example"}).headers
