"""Receive gpumedic's messages and check their signature; needs nothing but Python itself."""

import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

KEY = base64.b64decode(Path(sys.argv[1]).read_text().strip().removeprefix("whsec_"))


def genuine(headers: dict[str, str], body: bytes) -> bool:
    """Check a message by Standard Webhooks: signed with our key, and not older than 5 minutes."""
    stamp = headers.get("webhook-timestamp", "0")
    signed = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
    ours = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    theirs = headers.get("webhook-signature", "").split()
    fresh = stamp.isdecimal() and abs(time.time() - int(stamp)) < 300
    return fresh and any(hmac.compare_digest(ours, each) for each in theirs)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine and 401 to the rest."""

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers["content-length"]))
        good = genuine({name.lower(): text for name, text in self.headers.items()}, body)
        self.send_response(204 if good else 401)
        self.end_headers()
        if good:
            sys.stdout.write(f"{json.loads(body)['gpumedic']['event']}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()
