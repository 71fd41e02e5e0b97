"""Twenty visitors at once and twenty hostile uploads: right answers, bounded memory, a page that goes on?

    python scripts/web_sessions.py               # starts 'slowfast-zoo web' itself; needs the extra "web"
    python scripts/web_sessions.py --visitors 5

Prints what was found and exits with 1 if an answer was wrong, a hostile upload was taken or the server ended.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pan_right.mp4"
LIMIT_MB = 8
_VIDEO = EXAMPLE.read_bytes()
_HTML = b"<!doctype html><script>alert(1)</script>"

HOSTILE: dict[str, tuple[str, bytes]] = {
    "text": ("text.mp4", b"hello world\n" * 100),
    "a page": ("page.mp4", _HTML),
    "nothing": ("nothing.mp4", b""),
    "zeros": ("zeros.mp4", bytes(100_000)),
    "an archive": ("archive.zip", b"PK\x03\x04" + bytes(200)),
    "a pickle": ("weights.pkl", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."),
    "a program": ("program.mp4", b"\x7fELF" + bytes(400)),
    "a picture": ("picture.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
    "a playlist of files": ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    "a list for concat": ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "the begin of a video": ("cut.mp4", _VIDEO[:2000]),
    "a video of noise": ("noise.mp4", _VIDEO[:200] + bytes(range(256)) * 40),
    "a huge picture": ("huge.gif", b"GIF89a\xff\xff\xff\xff\xf7\x00\x00" + bytes(900)),
    "a name that climbs": ("../../../../tmp/sfz_climbed.mp4", b"climbed"),
    "a name that climbs, Windows": ("..\\..\\..\\sfz_climbed.mp4", b"climbed"),
    "an absolute name": ("/tmp/sfz_climbed.mp4", b"climbed"),
    "HTML in the name": ("<img src=x onerror=alert(1)>.mp4", b"text"),
    "a template in the name": ("${alert(1)}{{7*7}}.mp4", b"text"),
    "a very long name": ("x" * 3000 + ".mp4", b"text"),
}
"""Names and contents; the twentieth is a header that promises 2 GB."""


class Visitor:
    """Somebody's browser, as far as requests go.

    Args:
        url: of the page.
    """

    def __init__(self, url: str) -> None:
        import httpx  # Gradio brings it

        self.session = uuid.uuid4().hex[:12]
        self._client = httpx.Client(base_url=url, timeout=600)
        dependencies = self._client.get("/config").json()["dependencies"]
        self._look = next(each["id"] for each in dependencies if each["api_name"] == "look")

    def upload(self, name: str, content: bytes) -> httpx.Response:
        return self._client.post("/gradio_api/upload", files={"files": (name, content)})

    def upload_header(self, promised: int) -> int:
        """Sends the header of an upload of so many bytes, and none of them; the status."""
        parts = self._client.base_url
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {parts.host}:{parts.port}\r\n"
            f"Content-Length: {promised}\r\nContent-Type: multipart/form-data; boundary=B\r\n\r\n"
        )
        with socket.create_connection((parts.host, parts.port or 80), timeout=30) as connection:
            connection.sendall(head.encode())
            return int(connection.recv(100).split()[1])

    def look(self, path: str, **asked: Any) -> list[str]:
        """The answer's HTML as it grew; or the sentence of a request that was refused."""
        chosen = {"model": "slowfast_tiny", "weights": "camera-motion", "engine": "auto", "views": "quick"}
        file = {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}
        body = {
            "data": [file, *(chosen | asked).values(), 0.5],
            "fn_index": self._look,
            "session_hash": self.session,
        }
        joined = self._client.post("/gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return [joined.json()["detail"]]
        return [*self._told()]

    def _told(self) -> Iterator[str]:
        with self._client.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as lines:
            for line in lines.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
                if message["msg"] == "process_completed":
                    output = message["output"]
                    yield output["data"][0] if message["success"] else f"failed: {output.get('error')}"
                    return


def labels_of(page: str) -> list[str]:
    """The classes in an answer, best first."""
    return re.findall(r'<div class="sfz-bar[^>]*><span title="([^"]*)"', page)


def refused(visitor: Visitor, name: str, content: bytes) -> str | None:
    """The sentence with which an upload is refused; None if it isn't, or in another form."""
    uploaded = visitor.upload(name, content)
    if uploaded.status_code != 200:
        return f"status {uploaded.status_code}" if 400 <= uploaded.status_code < 500 else None
    said = visitor.look(uploaded.json()[0])[-1]
    found = re.fullmatch(r'<div class="sfz-error" role="alert">([^<>]+)</div>', said)
    return found and html.unescape(found[1])


def memory(pid: int) -> float:
    """MB that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def crowd(url: str, count: int, pid: int) -> bool:
    """So many visitors at once, twice; whether all answers were right."""
    right = True
    for turn in ("first", "second"):
        visitors = [Visitor(url) for _ in range(count)]
        paths = [visitor.upload(f"{visitor.session}.mp4", _VIDEO).json()[0] for visitor in visitors]
        begin, times, most = time.monotonic(), [], 0.0

        def visit(visitor: Visitor, path: str, begin: float = begin, times: list[float] = times) -> str:
            page = visitor.look(path)[-1]
            times.append(time.monotonic() - begin)
            return page

        with ThreadPoolExecutor(count) as pool:
            answers = [pool.submit(visit, *pair) for pair in zip(visitors, paths, strict=True)]
            while not all(answer.done() for answer in answers):
                most = max(most, memory(pid))
                time.sleep(0.2)
        found = [answer.result() for answer in answers]
        good = sum(labels_of(page)[:1] == ["pan right"] and "sfz-machine" in page for page in found)
        right &= good == count
        shown = {re.sub(r"<p class=.sfz-dim sfz-machine.*", "", page) for page in found}
        print(
            f"{turn} {count} visitors: {good} right answers, {len(shown)} different;"
            f" {statistics.median(times):.1f} s in the middle, {max(times):.1f} s the last;"
            f" memory at most {most:.0f} MB, then {memory(pid):.0f} MB"
        )
        right &= len(shown) == 1
    return right


def siege(url: str) -> bool:
    """The hostile uploads; whether all were refused."""
    visitor, good = Visitor(url), True
    for title, (name, content) in HOSTILE.items():
        sentence = refused(visitor, name, content)
        good &= sentence is not None
        print(f"{title}: {'TAKEN' if sentence is None else sentence[:110]}")
    status = visitor.upload_header(2**31)
    print(f"a header of 2 GB: status {status}")
    outside = visitor.look("/etc/passwd")[-1]
    print(f"a file of the machine: {outside}")
    good &= "was uploaded to this page" in outside
    good &= not Path("/tmp/sfz_climbed.mp4").exists()
    return good and status == 413


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--visitors", type=int, default=20)
    count = arguments.parse_args().visitors
    command = [sys.executable, "-m", "slowfast_zoo", "web", "--port", "0", "--model", "slowfast_tiny"]
    command += ["--max-mb", str(LIMIT_MB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[1]
            print(f"{url}: {memory(server.pid):.0f} MB before anybody came")
            good = crowd(url, count, server.pid)
            good &= siege(url)
            last = Visitor(url)
            after = labels_of(last.look(last.upload("after.mp4", _VIDEO).json()[0])[-1])
            print(f"afterwards: {after[:1]}, {memory(server.pid):.0f} MB")
            good &= after[:1] == ["pan right"] and server.poll() is None
        finally:
            server.terminate()
    return not good


if __name__ == "__main__":
    sys.exit(main())
