"""A catalogue on a real node while its workers and the operator are killed (SIGKILL): all that is good is
published once, all that is broken is told, and who kills the process is found out.

    tests/cluster/run brings the cluster and the images; then, in its network:
    .venv/bin/python tests/cluster/trial_batch.py --subjects 1000 --kills 50 --seed 4

Needs the node's processes to be seen from here (our own cluster, or kind with its processes on this machine). Prints a
report as JSON; ends with 1 where anything was lost, doubled, counted wrongly, or told otherwise than it should be.
"""

# ruff: noqa: T201, S311 - what it prints is what it is for, and chance is no secret

from __future__ import annotations

import argparse
import base64
import collections
import hashlib
import json
import os
import random
import signal
import struct
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from catalogue import batch, put_manifest, put_pictures, read_batch, results_of  # noqa: E402
from kube import RESTRICTED, apply, fetch_all, kubectl, true_conditions  # noqa: E402
from pictures import picture  # noqa: E402
from seaweed import TENANT, Seaweed  # noqa: E402
from shop import SECRET, SHOP, SYSTEM, install_chart, profile  # noqa: E402

HOOK = """
import os, signal, sys, threading, time


def kill_by_subject():
    while True:
        pipeline = sys.modules.get("likeness_runtime.batch.pipeline")
        tune = getattr(pipeline, "tune_all", None)
        if tune is not None:
            def killing(prepared, *rest):
                for each in prepared:
                    order = getattr(each, "order", None)
                    if order is not None and (order.subject.id or "").startswith("KILLER"):
                        os.kill(os.getpid(), signal.SIGKILL)
                return tune(prepared, *rest)
            pipeline.tune_all = killing
            return
        time.sleep(0.01)


if "likeness_runtime.batch.worker" in sys.orig_argv:
    threading.Thread(target=kill_by_subject, daemon=True).start()
"""
KILLERS = 3
WORKER, SUPERVISOR, OPERATOR = "likeness_runtime.batch.worker", "likeness\0work", "likeness-operator"
END_SECONDS = 5400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hooks-", dir="/tmp") as hooks:  # where the node finds it
        Path(hooks).chmod(0o755)
        (Path(hooks) / "sitecustomize.py").write_text(HOOK)
        report = trial(options, hooks)
    print(json.dumps(vars(options) | report, indent=1))
    return 1 if report["wrong"] else 0


def trial(options: argparse.Namespace, hooks: str) -> dict[str, Any]:
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": RESTRICTED}})
    install_chart()
    storage = serve_storage()
    name, choice = f"trial-{int(time.time())}", random.Random(options.seed)
    tenant(hooks)
    good = put_pictures(storage, name, options.subjects)
    killers = put_pictures(storage, f"{name}-killers", KILLERS)
    for number, line in enumerate(killers):
        line["id"] = f"KILLER_{number}"
    broken = broken_lines(storage, name, options.subjects // 20)
    lines = [*good, *killers, *(line for line, _ in broken)]
    choice.shuffle(lines)
    expected = collections.Counter(reason for _, reason in broken) | {"CrashedWorker": KILLERS}
    source = put_manifest(storage, f"{name}.jsonl", lines)
    workers = {"min": 1, "max": options.workers}
    began = time.monotonic()
    apply(batch(name, source, profile="pocket", workers=workers, passes=[options.steps], maxFailedPercent=50))
    counts = Counts(name)
    counts.start()
    kills = kill(name, options.kills, choice)
    while not {"Succeeded", "Failed"} & true_conditions(read_batch(name)).keys():
        assert time.monotonic() - began < END_SECONDS, read_batch(name)["status"]
        time.sleep(1)
    seconds = time.monotonic() - began
    counts.over.set()
    counts.join()
    status = read_batch(name)["status"]
    wrong = [*counts.falls, *verdict(storage, name, status, good, expected)]
    if counts.longest_status > 20_000:
        wrong.append(f"the status had {counts.longest_status} bytes")
    storage.kill()
    return {"seconds": round(seconds), "kills_done": dict(kills), "status": status, "wrong": wrong}


def serve_storage() -> Seaweed:
    server = Seaweed(Path(tempfile.mkdtemp(prefix="seaweed-")), os.environ["LIKENESS_TEST_HOST"])
    server.start()
    port = int(server.endpoint.rpartition(":")[2])
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "storage"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s3", "namespace": "storage"},
         "spec": {"ports": [{"name": "s3", "port": 8333, "targetPort": port}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
         "metadata": {"name": "s3", "namespace": "storage", "labels": {"kubernetes.io/service-name": "s3"}},
         "addressType": "IPv4", "ports": [{"name": "s3", "port": port}],
         "endpoints": [{"addresses": [server.host]}]},
    )  # fmt: skip
    return server


def tenant(hooks: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": TENANT.access_key, "AWS_SECRET_ACCESS_KEY": TENANT.secret_key}
    name = Path(hooks).name.replace("_", "x")  # of this trial alone
    volume = {"persistentVolumeClaim": {"claimName": name}, "mountPath": "/hooks"}
    manifest = profile("pocket")
    runtime = manifest["spec"]["runtime"]
    manifest["spec"] |= {
        "model": {"uri": "builtin://pocket", "volume": volume},
        "encoder": {"uri": "builtin://pocket"},
        "runtime": runtime | {"env": [*runtime["env"], {"name": "PYTHONPATH", "value": "/hooks"}]},
    }
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": RESTRICTED}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": SHOP},
         "data": {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
         "spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "",
                  "hostPath": {"path": hooks}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": SHOP},
         "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": name,
                  "resources": {"requests": {"storage": "1Mi"}}}},
        manifest,
    )  # fmt: skip


def broken_lines(storage: Seaweed, name: str, count: int) -> list[tuple[Any, str]]:
    """Of twelve kinds, each with the reason that it should be told with."""
    client = storage.client()

    def put(key: str, data: bytes) -> list[str]:
        client.put_object(Bucket="catalogue", Key=f"{name}-broken/{key}", Body=data)
        return [f"s3://catalogue/{name}-broken/{key}"]

    made: list[tuple[Any, str]] = []
    for number in range(count):
        fine = picture(number)
        word = f"BROKEN_{number:04}"
        kinds: list[tuple[Any, str]] = [
            ("this is no JSON", "InvalidLine"),
            ({"id": word}, "InvalidLine"),
            ({"id": word, "images": []}, "InvalidLine"),
            ({"id": word, "images": [f"s3://catalogue/{name}/00000.png"], "colour": "red"}, "InvalidLine"),
            ({"id": word, "images": [f"s3://catalogue/{name}/00000.png"], "token": "pot"}, "InvalidLine"),
            ({"id": f"SKU_{number:05}", "images": [f"s3://catalogue/{name}/00001.png"]}, "DuplicateId"),
            ({"id": word, "images": [f"s3://catalogue/{name}-broken/nowhere.png"]}, "SourceNotFound"),
            ({"id": word, "images": ["s3://elsewhere/00000.png"]}, "BucketNotAllowed"),
            ({"id": word, "images": put(f"{number}-text.png", b"no picture at all")}, "ImageUnreadable"),
            ({"id": word, "images": put(f"{number}-half.png", fine[: len(fine) // 2])}, "ImageUnreadable"),
            ({"id": word, "images": put(f"{number}-small.png", small())}, "ImageTooSmall"),
            ({"id": word, "images": put(f"{number}-large.png", large())}, "ImageTooLarge"),
        ]
        made.append(kinds[number % len(kinds)])
    return made


def small() -> bytes:
    return png(4, 4)


def large() -> bytes:
    """A few hundred bytes that say they are 40,000 pixels wide."""
    return png(40_000, 40_000, rows=1)


def png(width: int, height: int, rows: int | None = None) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = zlib.compress(b"".join(b"\0" + b"\x80" * 3 * width for _ in range(rows or height)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Counts(threading.Thread):
    """Looks at the counts as fast as it can, and keeps where one falls."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.name_of_batch = name
        self.over = threading.Event()
        self.falls: list[str] = []
        self.longest_status = 0

    def run(self) -> None:
        before: dict[str, int] = {}
        while not self.over.is_set():
            status = read_batch(self.name_of_batch).get("status", {})
            self.longest_status = max(self.longest_status, len(json.dumps(status)))
            counts = {kind: status.get("counts", {}).get(kind, 0) for kind in ("succeeded", "failed", "skipped")}
            for kind, count in counts.items():
                if count < before.get(kind, 0):
                    self.falls.append(f"{kind} fell from {before[kind]} to {count}")
            before = counts
            time.sleep(0.5)


def kill(name: str, count: int, choice: random.Random) -> collections.Counter[str]:
    """SIGKILL for processes that tune, their supervisors and operators, at random moments while the batch runs."""
    done: collections.Counter[str] = collections.Counter()
    while sum(done.values()) < count:
        time.sleep(choice.uniform(2, 24))
        if {"Succeeded", "Failed"} & true_conditions(read_batch(name)).keys():
            break
        what = choice.choice([WORKER, SUPERVISOR, OPERATOR])
        found = processes(what)
        if found:
            os.kill(choice.choice(found), signal.SIGKILL)
            done[what.replace("\0", " ")] += 1
            if what == OPERATOR:
                replace_those_that_wait()
    return done


def replace_those_that_wait() -> None:
    """Operators' pods that the kubelet would start again only in minutes, because they were killed so often."""
    for pod in fetch_all("pods", SYSTEM):
        state = [each.get("state", {}) for each in pod["status"].get("containerStatuses", [])]
        if any(each.get("waiting", {}).get("reason") == "CrashLoopBackOff" for each in state):
            kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--wait=false")


def processes(what: str) -> list[int]:
    """By their command lines; ours and the shells that started us are none."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_text()
            except OSError:
                continue
            words = line.split("\0")
            inside = "/venv/bin/python" in words[0] or words[0].startswith("/usr/bin/python")
            if inside and what in line and "trial_batch" not in line and "/.venv/" not in words[0]:
                found.append(int(folder.name))
    return found


def verdict(
    storage: Seaweed, name: str, status: dict[str, Any], good: list[dict[str, Any]], expected: dict[str, int]
) -> list[str]:
    wrong = []
    results = results_of(storage, name)
    numbers = [line["line"] for line in results]
    if len(numbers) != len(set(numbers)):
        wrong.append("a line is in the results twice")
    by_id = {line["id"]: line for line in results if line["outcome"] == "Succeeded"}
    lost = [line["id"] for line in good if line["id"] not in by_id]
    failed = collections.Counter(line["reason"] for line in results if line["outcome"] == "Failed")
    if lost:
        wrong.append(f"{len(lost)} good subjects are not published, such as {lost[:5]}")
    if failed != expected:
        wrong.append(f"failures are {dict(failed)}; expected {dict(expected)}")
    told = status["counts"]
    if (told["succeeded"], told["failed"]) != (len(by_id), sum(failed.values())):
        wrong.append(f"the status counts {told}; the results {len(by_id)} and {sum(failed.values())}")
    wrong += [each for line in by_id.values() if (each := odd_folder(storage, line)) is not None]
    return wrong


def odd_folder(storage: Seaweed, line: dict[str, Any]) -> str | None:
    """A published folder is the only one of its subject, and is what its manifest says, byte for byte."""
    client = storage.client()
    folder = line["folder"].removeprefix("s3://artifacts/")
    home = folder.rstrip("/").rpartition("/")[0] + "/"
    digests = {key.removeprefix(home).split("/")[0] for key in storage.keys("artifacts", home)} - {"latest.json"}
    if len(digests) != 1:
        return f"{line['id']} has {len(digests)} folders"
    manifest = json.loads(client.get_object(Bucket="artifacts", Key=f"{folder}manifest.json")["Body"].read())
    for file in manifest["files"]:
        data = client.get_object(Bucket="artifacts", Key=folder + file["name"])["Body"].read()
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            return f"{line['id']}: {file['name']} is not what the manifest says"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
