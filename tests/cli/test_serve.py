"""`glassformer serve`: where it listens, what it refuses, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from glassformer.cli.serve import PORT, listen
from glassformer.errors import GlassformerError


def refusal(*arguments: str) -> str:
    """The one line on standard error of a server that did not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "glassformer", "serve", "--no-open", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_it_serves_until_ctrl_c_and_then_ends_cleanly():
    command = [sys.executable, "-m", "glassformer", "serve", "--no-open", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = line.split()[3]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}api/runs", timeout=30) as answer:
            runs = json.load(answer)["runs"]
        assert [run["id"] for run in runs] == ["miniature"]
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=30)
        assert server.returncode == 0
        assert errors == ""
    finally:
        server.kill()
        server.wait()


@pytest.mark.heavy
def test_ctrl_c_ends_it_while_a_page_watches_a_training_which_is_saved(tmp_path):
    command = [sys.executable, "-m", "glassformer", "serve", "--no-open", "--port", "0"]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        body = json.dumps({"text": "the cat sat on the mat. " * 200, "steps": 5000}).encode()
        kind = {"content-type": "application/json"}
        request = urllib.request.Request(f"{url}api/trainings", body, kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            training = json.load(answer)["id"]
        with urllib.request.urlopen(f"{url}api/trainings/{training}/events", timeout=60) as events:
            lines = (line for line in events if line.strip() and not line.startswith(b":"))
            assert json.loads(next(lines).removeprefix(b"data:"))["kind"] == "progress"
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors) == (0, "")
        assert list((tmp_path / "runs" / "pasted" / "checkpoints").iterdir()) != []
    finally:
        server.kill()
        server.wait()


def test_other_machines_are_not_let_in_without_a_token():
    assert "give a --token" in refusal("--host", "0.0.0.0")


@pytest.mark.heavy
def test_a_run_that_is_not_there_is_refused_with_the_nearest_name():
    assert "Did you mean 'miniature'" in refusal("minature")


def test_a_port_in_use_is_refused_where_it_was_asked_for():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GlassformerError, match=f"port {port} is in use"):
            listen("127.0.0.1", port)


def test_without_a_port_the_next_free_one_is_taken():
    with listen("127.0.0.1", None) as first, listen("127.0.0.1", None) as second:
        assert PORT <= first.getsockname()[1] < second.getsockname()[1]


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(GlassformerError, match="give an address of this machine"):
        listen("192.0.2.1", 0)  # RFC 5737: nobody's


def test_the_socket_is_of_tcp():
    with listen("127.0.0.1", 0) as listener:
        assert (listener.family, listener.proto) == (socket.AF_INET, socket.IPPROTO_TCP)
