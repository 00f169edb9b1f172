"""Many workers at a store that takes so many requests a second and answers the rest with 503 SlowDown.

    .venv/bin/python tests/runtime/storage/trial_throttled.py --workers 8 --limit 40

Each worker writes objects as fast as it can, once with clients that slow down when they are told to, as ours are, and
once with clients that only try again. Prints, for each arm, how many requests were refused and how many were taken.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.config import Config

from likeness_api.order import OrderStorage
from likeness_runtime.failure import RunError
from likeness_runtime.storage.s3 import S3Store, client_of

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Throttling(BaseHTTPRequestHandler):
    """A token bucket before nothing."""

    protocol_version = "HTTP/1.1"
    limit = 40.0
    lock = threading.Lock()
    tokens, at = 40.0, 0.0
    taken = refused = 0

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        cls = type(self)
        with cls.lock:
            now = time.monotonic()
            cls.tokens = min(cls.limit, cls.tokens + (now - cls.at) * cls.limit)
            cls.at = now
            fits = cls.tokens >= 1
            cls.tokens -= fits
            cls.taken += fits
            cls.refused += not fits
        body = b"" if fits else SLOW_DOWN
        self.send_response(200 if fits else 503)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def arm(options: argparse.Namespace, *, slows_down: bool) -> dict[str, Any]:
    handler = type("Handler", (Throttling,), {"limit": float(options.limit), "lock": threading.Lock()})
    over, gave_up = time.monotonic() + options.seconds, [0]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        storage = OrderStorage(
            endpoint=f"http://127.0.0.1:{server.server_port}", path_style=True, source_prefixes=[], output_prefixes=[]
        )

        def work(number: int) -> None:
            client = client_of(storage) if slows_down else plain_client(storage)
            store = S3Store(client, time.sleep)
            while time.monotonic() < over:
                try:
                    store.write(f"s3://artifacts/{number}", b"bytes", "text/plain")
                except RunError:
                    gave_up[0] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(options.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.shutdown()
    return {"taken": handler.taken, "refused": handler.refused, "gave_up": gave_up[0]}  # type: ignore[attr-defined]


def plain_client(storage: OrderStorage) -> Any:
    client = client_of(storage)
    import boto3

    plain = client.meta.config.merge(Config(retries={"total_max_attempts": 1, "mode": "standard"}))
    return boto3.Session().client("s3", endpoint_url=storage.endpoint, region_name=storage.region, config=plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--limit", type=int, default=40, help="requests a second that the store takes")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    arms = {"slow down": arm(options, slows_down=True), "only try again": arm(options, slows_down=False)}
    print(json.dumps(vars(options) | arms, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
