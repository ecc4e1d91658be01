"""A hub of data sets on this machine, for tests: what `datasets` asks of huggingface.co."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ABSENT: tuple[bytes, dict[str, str]] = (b"{}", {"X-Error-Code": "RepoNotFound"})


@contextmanager
def hub_of(name: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a hub that holds one data set, of these files."""

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body, headers = answer(urlsplit(self.path).path, name, files)
            self.send_response(404 if "X-Error-Code" in headers else 200)
            for header in (*headers.items(), ("Content-Length", str(len(body)))):
                self.send_header(*header)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (its name in the base)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def answer(path: str, name: str, files: Mapping[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """What stands at a path of the hub, and its headers."""
    if name not in path:
        return ABSENT
    if "/resolve/" in path:
        file = path.split("/resolve/")[1].partition("/")[2]
        if file not in files:
            return b"", {"X-Error-Code": "EntryNotFound"}
        return files[file], {"ETag": f'"{oid(files[file])}"', "X-Repo-Commit": COMMIT}
    if "/tree/" in path:
        is_folder = "/" in path.split("/tree/")[1]
        entries = [
            {"type": "file", "path": file, "size": len(content), "oid": oid(content)}
            for file, content in files.items()
        ]
        return json.dumps([] if is_folder else entries).encode(), {}
    siblings = [{"rfilename": file} for file in files]
    return json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), {}


def oid(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()
