"""How much of a worker's time is tuning, and what sharing forward passes and a process is worth.

    .venv/bin/python tests/runtime/batch/bench_worker.py --subjects 200

Runs the pod's own commands (`likeness plan`, `likeness work`; `likeness tune` for one process a subject) against a real
S3 server, with the pocket model, one arm after the other: the worker with several sizes of groups, once more without
previews, and one process a subject. A hook in the process that tunes adds up what goes by in tuning (prediction, steps
and previews); the rest of the pod's seconds is start, fetching, publishing and waiting. Prints JSON.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "harness"))

from likeness_api.batch_order import BatchOrder, accept_batch  # noqa: E402
from likeness_api.batch_result import BatchResult  # noqa: E402
from likeness_api.order import ORDER_VARIABLE, Order  # noqa: E402
from likeness_api.personalization_batch import PersonalizationBatchSpec  # noqa: E402
from likeness_api.published import batch_home  # noqa: E402
from likeness_api.shard_report import SHARDS_URL_VARIABLE, ShardAnswer, ShardReport  # noqa: E402
from likeness_api.tuning_profile import TuningProfileSpec  # noqa: E402
from likeness_runtime.batch.batch_folder import BatchFolder, segment_name, shard_name  # noqa: E402
from likeness_runtime.batch.plan import PlannedSubject  # noqa: E402
from likeness_runtime.batch.result_line import read_lines  # noqa: E402
from likeness_runtime.batch.template import OrderTemplate  # noqa: E402
from likeness_runtime.storage.stores import Stores  # noqa: E402
from pictures import picture  # noqa: E402
from seaweed import ADMIN, Seaweed  # noqa: E402

HOOK = """
import atexit, os, sys, threading, time

def wait_and_wrap():
    while True:
        pipeline = sys.modules.get("likeness_runtime.batch.pipeline")
        tune = getattr(pipeline, "tune_all", None)
        if tune is not None:
            def timed(*arguments):
                began = time.perf_counter()
                try:
                    return tune(*arguments)
                finally:
                    with open(os.environ["BENCH_SECONDS"], "a") as told:
                        told.write(f"{time.perf_counter() - began}\\n")
            pipeline.tune_all = timed
            return
        time.sleep(0.005)

if "BENCH_TOKEN" in os.environ:
    import likeness_api.progress_report as progress_report
    progress_report.PROGRESS_TOKEN_FOLDER = os.environ["BENCH_TOKEN"]
if "likeness_runtime.batch.worker" in sys.orig_argv:
    import likeness_runtime.batch.work as work
    work.SUBJECTS_A_PASS = int(os.environ["BENCH_GROUP"])
    threading.Thread(target=wait_and_wrap, daemon=True).start()
"""
PREVIEWS = [{"prompt": "a photo of a {token} on a blue background"}]


class Operator(BaseHTTPRequestHandler):
    """Hands out all shards, one after the other."""

    shards: list[int]

    def do_POST(self) -> None:
        report = ShardReport.decode(self.rfile.read(int(self.headers["Content-Length"])))
        shard = self.shards.pop(0) if report.wants and self.shards else None
        left = self.shards or shard is not None or not all(each.finished for each in report.holds)
        body = ShardAnswer(shard=shard, release=not left, pause_seconds=0.5).encode().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Bench:
    """One S3 server with the pictures of all arms."""

    def __init__(self, storage: Seaweed, scratch: Path, options: argparse.Namespace) -> None:
        self.storage = storage
        self.scratch = scratch
        self.options = options
        (scratch / "hook").mkdir()
        (scratch / "hook/sitecustomize.py").write_text(HOOK)
        (scratch / "token").write_text("a token")
        client = storage.client()
        lines = []
        for number in range(options.subjects):
            client.put_object(Bucket="catalogue", Key=f"{number:05}.png", Body=picture(number))
            lines.append({"id": f"SKU-{number:05}", "images": [f"s3://catalogue/{number:05}.png"]})
        manifest = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
        client.upload_fileobj(manifest, "catalogue", "m.jsonl")
        runtime = {"image": "none", "device": options.device}
        prefixes = {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts"]}
        self.profile = TuningProfileSpec.model_validate(
            {"model": {"uri": "builtin://pocket"}, "encoder": {"uri": "builtin://pocket"}, "runtime": runtime,
             "storage": {"endpoint": storage.endpoint, "pathStyle": True, **prefixes}}
        )  # fmt: skip

    def order(self, name: str, previews: list[dict[str, str]]) -> BatchOrder:
        spec = PersonalizationBatchSpec.model_validate(
            {"source": {"manifest": "s3://catalogue/m.jsonl"}, "passes": [self.options.steps],
             "template": {"output": f"s3://artifacts/{name}", "previews": previews}}
        )  # fmt: skip
        order = accept_batch(name, "shop", spec, self.profile)
        assert isinstance(order, BatchOrder), order
        return order

    def likeness(self, *command: str, **environment: str) -> tuple[float, str]:
        """The seconds that a pod's command took, and what it left."""
        log = self.scratch / "termination-log"
        keys = {"AWS_ACCESS_KEY_ID": ADMIN.access_key, "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "likeness_runtime.cli", *command, f"--termination-log={log}"],
            env=dict(os.environ) | keys | environment, capture_output=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return seconds, log.read_text()

    def work(self, name: str, group: int, previews: list[dict[str, str]]) -> dict[str, Any]:
        """A worker's life."""
        order = self.order(name, previews)
        text = order.encode()
        plan = BatchResult.decode(self.likeness("plan", **{ORDER_VARIABLE: text})[1])
        told = self.scratch / f"seconds-{name}"
        handler = type("Handler", (Operator,), {"shards": list(range(plan.shards))})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            seconds, _ = self.likeness(
                "work",
                **{ORDER_VARIABLE: text, SHARDS_URL_VARIABLE: f"http://127.0.0.1:{server.server_port}/shards"},
                PYTHONPATH=str(self.scratch / "hook"), BENCH_GROUP=str(group), BENCH_SECONDS=str(told),
                BENCH_TOKEN=str(self.scratch),
            )  # fmt: skip
            server.shutdown()
        tuned = sum(map(float, told.read_text().split()))
        published = self.published(order, plan.shards)
        assert len(published) == self.options.subjects, len(published)
        return said({
            "group": group, "previews": len(previews), "shards": plan.shards, "seconds": round(seconds, 1),
            "tuning_seconds": round(tuned, 1), "efficiency": round(tuned / seconds, 3),
            "subjects_per_hour": round(3600 * self.options.subjects / seconds),
        })  # fmt: skip

    def published(self, order: BatchOrder, shards: int) -> dict[int, str]:
        """Folders by line number."""
        lines = (
            line for shard in range(shards) for line in read_lines(self.folder(order).read(segment_name(0, shard)))
        )
        return {line.line: line.folder for line in lines if line.folder is not None}

    def folder(self, order: BatchOrder) -> BatchFolder:
        home = batch_home(order.spec.template.output, order.namespace, order.name)
        return BatchFolder(Stores(order.storage, time.sleep).of(home), home, 1)

    def alone(self, name: str, count: int, previews: list[dict[str, str]]) -> dict[str, Any]:
        """One process a subject, as a Personalization has it."""
        order = self.order(name, previews)
        plan = BatchResult.decode(self.likeness("plan", **{ORDER_VARIABLE: order.encode()})[1])
        data = b"".join(self.folder(order).read(shard_name(0, shard)) or b"" for shard in range(plan.shards))
        template = OrderTemplate(order.namespace, order.spec.template, order.profile, local=False)
        seconds = 0.0
        for line in data.splitlines()[:count]:
            each = PlannedSubject.decode(line)
            single = template.order(each.number, each.subject, self.options.steps)
            assert isinstance(single, Order)
            seconds += self.likeness("tune", **{ORDER_VARIABLE: single.encode()})[0]
        return said({
            "previews": len(previews), "processes": count, "seconds_each": round(seconds / count, 2),
            "subjects_per_hour": round(3600 * count / seconds),
        })  # fmt: skip

    def difference(self, one: str, other: str, previews: list[dict[str, str]]) -> float:
        """The most by which a published weight differs between two arms, of the first twenty subjects."""
        client, most = self.storage.client(), 0.0
        pairs = [self.published(self.order(name, previews), 1000) for name in (one, other)]
        for number in sorted(pairs[0])[:20]:
            tensors = []
            for folders in pairs:
                prefix = folders[number].removeprefix("s3://artifacts/")
                keys = [key for key in self.storage.keys("artifacts", prefix) if key.endswith(".safetensors")]
                data = client.get_object(Bucket="artifacts", Key=min(keys))["Body"].read()
                tensors.append(load(data))
            most = max(most, *(float(np.abs(tensors[0][key] - tensors[1][key]).max()) for key in tensors[0]))
        return most


def said(figures: dict[str, Any]) -> dict[str, Any]:
    """An arm takes minutes: what is known is told at once."""
    print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--processes", type=int, default=8, help="of one subject each")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": ADMIN.access_key, "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key}
    with tempfile.TemporaryDirectory() as scratch:
        storage = Seaweed(Path(scratch) / "s3", "127.0.0.1")
        storage.start()
        try:
            bench = Bench(storage, Path(scratch), options)
            arms = [bench.work(f"group-{group}", group, PREVIEWS) for group in options.groups]
            arms.append(bench.work("bare", 4, []))
            report = {
                "worker": arms,
                "process_a_subject": [bench.alone("alone", options.processes, PREVIEWS),
                                      bench.alone("alone-bare", options.processes, [])],
                "largest_difference_to_one_at_a_time": {
                    group: bench.difference("group-1", f"group-{group}", PREVIEWS)
                    for group in options.groups
                    if group != 1 and 1 in options.groups
                },
            }  # fmt: skip
        finally:
            storage.kill()
    print(json.dumps(vars(options) | report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
