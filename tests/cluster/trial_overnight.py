"""A catalogue of any size on a real API server: what it costs the cluster, and whether anything is lost on the way.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/trial_overnight.py --subjects 100000

Its pods run on a node that kwok acts. The planner and the collector are the real commands, run here with the order of
their pod; a worker is the real supervisor with the real claims and the token of its own pod, but what tunes is acted:
it reads the shard, takes its time and writes the segment. `--kills` has the operator killed (SIGKILL) so often while
there is work, `--lost` takes so many workers away without a word, `--deaf` drops so many reports in a hundred. At the
end the same catalogue is run again unchanged, then with one picture changed, one line removed and one added. Prints a
report as JSON; ends with 1 where a count falls or is wrong.
"""

# ruff: noqa: T201, S311 - what it prints is what it is for, and chance is no secret

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import json
import os
import queue
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from fates import STAGES  # noqa: E402
from kube import apply, true_conditions  # noqa: E402
from likeness_api.batch_order import BatchOrder  # noqa: E402
from likeness_api.field import timestamp  # noqa: E402
from likeness_api.progress_report import PROGRESS_AUDIENCE  # noqa: E402
from likeness_api.published import batch_home  # noqa: E402
from likeness_api.shard_report import ShardAnswer, ShardProgress, ShardReport  # noqa: E402
from likeness_operator.kubernetes.k8s_object import K8sObject  # noqa: E402
from likeness_runtime.batch.batch_folder import BatchFolder, segment_name, shard_name  # noqa: E402
from likeness_runtime.batch.claims import Claims  # noqa: E402
from likeness_runtime.batch.plan import PlannedSubject  # noqa: E402
from likeness_runtime.batch.result_line import Outcome, ResultLine, read_lines  # noqa: E402
from likeness_runtime.batch.supervisor import Supervisor  # noqa: E402
from likeness_runtime.batch.worker_messages import Progressed, Ready, WorkerMessage, WorkOn  # noqa: E402
from likeness_runtime.storage.stores import Stores  # noqa: E402
from outside import (  # noqa: E402
    USER,
    WRITES,
    Operator,
    acted_node,
    administrator,
    audited,
    install_rights,
    percentile,
    profile,
    url_of,
)  # fmt: skip
from seaweed import ADMIN, Seaweed  # noqa: E402

SHA = "0" * 64
REPORTS_PORT = 18081
NAME = "night"
PICTURES = 10_000
END_SECONDS = 3000
COUNTED = ("personalizationbatches", "jobs", "pods", "events", "serviceaccounts")
"""Whose writes are counted."""
LATENCIES: list[float] = []
"""Seconds that each report of a worker took."""


class ActedProcess:
    """Stands for the process that tunes."""

    def __init__(self, order: BatchOrder, seconds_each: float) -> None:
        self.heard: queue.Queue[WorkerMessage | None] = queue.Queue()
        self._folder = folder_of(order)
        self._seconds_each = seconds_each
        self._end = threading.Event()
        self.heard.put(Ready())

    def work_on(self, wanted: WorkOn) -> None:
        threading.Thread(target=self._work, args=(wanted,), daemon=True).start()

    def end(self) -> None:
        self._end.set()

    kill = finish = end

    def wait(self) -> int:
        return 0

    def _work(self, wanted: WorkOn) -> None:
        name = segment_name(wanted.which_pass, wanted.shard)
        planned = [
            PlannedSubject.decode(line)
            for line in (self._folder.read(shard_name(wanted.which_pass, wanted.shard)) or b"").splitlines()
        ]
        lines = {line.line: line for line in read_lines(self._folder.read(name))}
        left = [each for each in planned if each.number not in lines]
        began = time.monotonic()
        while left and not self._end.is_set():
            group, left = left[:20], left[20:]
            self._end.wait(self._seconds_each * len(group))
            lines |= {each.number: acted_line(each) for each in group}
            self._say(wanted, planned, lines, began)
        self._folder.write(name, b"".join(lines[number].encode() for number in sorted(lines)))
        if self._end.is_set():
            self.heard.put(None)
        else:
            self._say(wanted, planned, lines, began, finished=True)

    def _say(
        self, wanted: WorkOn, planned: list[PlannedSubject], lines: dict[int, ResultLine], began: float, *,
        finished: bool = False,
    ) -> None:  # fmt: skip
        progress = ShardProgress(
            shard=wanted.shard, subjects=len(planned), succeeded=len(lines), finished=finished,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        self.heard.put(Progressed(progress=progress))


def acted_line(each: PlannedSubject) -> ResultLine:
    return ResultLine(
        line=each.number, id=each.subject.id, outcome=Outcome.SUCCEEDED, reason="Tuned", message="an act",
        end_time=timestamp(datetime.now(UTC)), steps=12, digest=SHA, manifest=SHA, token="<x>",
        folder=f"s3://artifacts/{each.subject.id}/{SHA}/", fingerprint=each.fingerprint,
    )  # fmt: skip


def folder_of(order: BatchOrder) -> BatchFolder:
    home = batch_home(order.spec.template.output, order.namespace, order.name)
    return BatchFolder(Stores(order.storage, time.sleep).of(home), home, order.spec.revision)


@dataclass
class Pods:
    """Acts the batch's pods, each as soon as it runs."""

    session: aiohttp.ClientSession
    namespace: str
    options: argparse.Namespace
    choice: random.Random
    folder: Path
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1100))
    seen: dict[str, threading.Event] = field(default_factory=dict)
    """The wish to end of each pod that is acted."""
    lost: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    lives: int = 0
    held: dict[str, set[int]] = field(default_factory=dict)
    """By the uid of a pod, the shards that it last said it holds."""
    given: list[tuple[float, int]] = field(default_factory=list)
    """When which shard was handed out."""
    taken_away: list[tuple[float, set[int]]] = field(default_factory=list)
    """When a worker was lost, and what it held."""
    commands: list[dict[str, Any]] = field(default_factory=list)

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    async def act(self) -> None:
        while True:
            async with self.session.get(self._pods, params={"labelSelector": f"likeness.dev/batch={NAME}"}) as answer:
                pods = (await answer.json())["items"]
            there = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
            for uid, wish in self.seen.items():
                if uid not in there:
                    wish.set()
            for pod in pods:
                uid = pod["metadata"]["uid"]
                if pod["status"].get("phase") == "Running" and uid in there and uid not in self.seen:
                    self.seen[uid] = threading.Event()
                    task = asyncio.create_task(self._one(pod, self.seen[uid]))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
            await asyncio.sleep(0.5)

    async def lose(self) -> None:
        """One worker that runs, as if its node had gone: it says nothing more, and its pod is gone."""
        async with self.session.get(
            self._pods, params={"labelSelector": f"likeness.dev/batch={NAME},app.kubernetes.io/component=worker"}
        ) as answer:
            pods = [pod for pod in (await answer.json())["items"] if pod["status"].get("phase") == "Running"]
        if pods:
            pod = self.choice.choice(pods)
            self.lost.add(pod["metadata"]["uid"])
            self.taken_away.append((time.monotonic(), self.held.get(pod["metadata"]["uid"], set())))
            gone = {"gracePeriodSeconds": 0}
            async with self.session.delete(f"{self._pods}/{pod['metadata']['name']}", json=gone):
                pass

    async def _one(self, pod: K8sObject, wish: threading.Event) -> None:
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        environment = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
        loop = asyncio.get_running_loop()
        if component == "worker":
            self.lives += 1
            token = await self._token(pod)
            code, message = await loop.run_in_executor(self.threads, self._work, pod, environment, token, wish)
        else:
            command = pod["spec"]["containers"][0]["args"]
            code, message = await loop.run_in_executor(self.threads, self._command, command, environment)
        if pod["metadata"]["uid"] in self.lost:
            return
        terminated = {"exitCode": code, "message": message, "finishedAt": timestamp(datetime.now(UTC))}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": pod["spec"]["containers"][0]["name"], "image": "none", "imageID": "",
                                   "ready": False, "restartCount": 0, "state": {"terminated": terminated}}],
        }  # fmt: skip
        headers = {"Content-Type": "application/merge-patch+json"}
        url = f"{self._pods}/{pod['metadata']['name']}/status"
        async with self.session.patch(url, data=json.dumps({"status": status}), headers=headers) as answer:
            assert answer.status in (200, 404), await answer.text()

    async def _token(self, pod: K8sObject) -> Path:
        metadata = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        request = {"spec": {"audiences": [PROGRESS_AUDIENCE], "boundObjectRef": bound, "expirationSeconds": 7200}}
        url = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default/token"
        async with self.session.post(url, json=request) as answer:
            path = self.folder / str(metadata["uid"])
            path.write_text((await answer.json())["status"]["token"])
            return path

    def _work(self, pod: K8sObject, environment: dict[str, str], token: Path, wish: threading.Event) -> tuple[int, str]:
        order = BatchOrder.decode(environment["LIKENESS_ORDER"])
        claims, uid = Claims(environment["LIKENESS_SHARDS_URL"], token), pod["metadata"]["uid"]

        def report(said: ShardReport) -> ShardAnswer | None:
            if uid in self.lost:
                raise SystemExit
            if self.choice.randrange(100) < self.options.deaf:
                return None
            began = time.monotonic()
            self.held[uid] = {each.shard for each in said.holds if not each.finished}
            answer = claims.report(said)
            LATENCIES.append(time.monotonic() - began)
            if answer is not None and answer.shard is not None:
                self.given.append((time.monotonic(), answer.shard))
            return None if self.choice.randrange(100) < self.options.deaf else answer

        start = lambda: ActedProcess(order, self.options.seconds_each)  # noqa: E731 - a name for the reader
        try:
            result = Supervisor(order, start, report, wish.is_set).run()  # type: ignore[arg-type]
        except SystemExit:
            return 1, ""
        return (0 if result.reason == "NothingLeft" else 15), result.encode().decode()

    def seconds_until_taken_over(self) -> list[float]:
        """For each worker that was lost with shards in hand, until somebody else had the last of them."""
        waits = []
        for when, shards in self.taken_away:
            again = [
                min((at for at, shard in self.given if shard == each and at > when), default=None) for each in shards
            ]
            known = [at - when for at in again if at is not None]
            waits += [max(known)] if known else []
        return [round(wait, 1) for wait in sorted(waits)]

    def _command(self, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """The real one, in a process of its own."""
        log = Path(tempfile.mkdtemp(dir=self.folder)) / "termination-log"
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "likeness_runtime.cli", *command, f"--termination-log={log}"],
            env=dict(os.environ) | environment, capture_output=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.commands.append(
            {"command": command[0], "seconds": round(time.monotonic() - began, 1), "mb_so_far": after.ru_maxrss // 1024,
             "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)}
        )  # fmt: skip
        if not log.exists():
            print(done.stderr.decode()[-3000:], file=sys.stderr)
        return done.returncode, log.read_text() if log.exists() else ""


@dataclass
class Watched:
    """What the watch told of the batch: no count may fall, no status may be large."""

    falls: list[str] = field(default_factory=list)
    largest: int = 0
    changes: int = 0
    now: K8sObject = field(default_factory=dict)

    async def follow(self, session: aiohttp.ClientSession, namespace: str) -> None:
        url, version = url_of("personalizationbatches", namespace), "0"
        while True:
            query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "300"}
            timeout = aiohttp.ClientTimeout(total=None)
            async with session.get(url, params=query, timeout=timeout) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        version = "0"
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._saw(event["object"])

    def _saw(self, batch: K8sObject) -> None:
        before, self.now = self.now.get("status", {}), batch
        status = batch.get("status", {})
        self.largest = max(self.largest, len(json.dumps(status)))
        self.changes += 1
        if before.get("revision") != status.get("revision"):
            return
        for name in ("succeeded", "failed", "skipped", "total"):
            was, now = (each.get("counts", {}).get(name, 0) for each in (before, status))
            if now < was:
                self.falls.append(f"{name} fell from {was} to {now}")

    async def ended(self, revision: int, seconds: float = END_SECONDS) -> K8sObject:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = self.now.get("status", {})
            if status.get("revision") == revision and {"Succeeded", "Failed"} & true_conditions(self.now).keys():
                return self.now
            await asyncio.sleep(0.5)
        raise AssertionError(f"revision {revision} has not ended: {json.dumps(self.now.get('status'))[:3000]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds-each", type=float, default=0.02, help="of a subject's acted work")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--lost", type=int, default=0)
    parser.add_argument("--deaf", type=int, default=0)
    parser.add_argument("--once", action="store_true", help="without the second and the third revision")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    namespace = f"night-{int(time.time())}"
    install_rights(namespace)
    os.environ |= {"AWS_ACCESS_KEY_ID": ADMIN.access_key, "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key}
    with tempfile.TemporaryDirectory() as scratch:
        storage = Seaweed(Path(scratch) / "s3", "127.0.0.1")
        storage.start()
        try:
            with acted_node(usual_stages(Path(scratch))):
                report = asyncio.run(trial(namespace, storage, Path(scratch), options))
        finally:
            storage.kill()
    print(json.dumps(vars(options) | report, indent=1))
    return 1 if report["wrong"] else 0


def usual_stages(folder: Path) -> Path:
    """Pods start, run until somebody else says that they ended, and go when they are deleted."""
    kept = [stage for stage in yaml.safe_load_all(STAGES.read_text()) if stage["metadata"]["name"] != "pod-tuned"]
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump_all(kept))
    return path


def catalogue(storage: Seaweed, subjects: int) -> list[dict[str, Any]]:
    client = storage.client()
    pictures = min(subjects, PICTURES)
    with ThreadPoolExecutor(16) as threads:
        put = lambda number: client.put_object(  # noqa: E731 - a name for the reader
            Bucket="catalogue", Key=f"night/{number:06}.png", Body=b"%d" % number
        )
        collections.deque(threads.map(put, range(pictures)), maxlen=0)
    return [
        {"id": f"SKU_{number:07}", "images": [f"s3://catalogue/night/{number % pictures:06}.png"]}
        for number in range(subjects)
    ]


def put_lines(storage: Seaweed, lines: list[dict[str, Any]]) -> None:
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    storage.client().put_object(Bucket="catalogue", Key="night.jsonl", Body=body)


def batch(namespace: str, options: argparse.Namespace) -> K8sObject:
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "PersonalizationBatch",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "source": {"manifest": "s3://catalogue/night.jsonl"},
            "template": {"profile": "night", "output": f"s3://artifacts/{namespace}"},
            "workers": {"min": 1, "max": options.workers},
        },
    }


async def trial(namespace: str, storage: Seaweed, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    choice = random.Random(options.seed)
    lines = catalogue(storage, options.subjects)
    put_lines(storage, lines)
    apply(profile(
        "night", model={"uri": "builtin://pocket"}, encoder={"uri": "builtin://pocket"},
        storage={"endpoint": storage.endpoint, "pathStyle": True, "sourcePrefixes": ["s3://catalogue"],
                 "outputPrefixes": ["s3://artifacts/{namespace}"]},
    ))  # fmt: skip
    url = f"http://127.0.0.1:{REPORTS_PORT}/progress"
    operator = Operator(
        folder, "--namespace", namespace, f"--progress-port={REPORTS_PORT}", f"--progress-url={url}", port=18080
    )
    operator.wait_until_ready()
    report: dict[str, Any] = {}
    async with administrator() as session:
        pods, watched = Pods(session, namespace, options, choice, folder), Watched()
        tasks = [asyncio.create_task(pods.act()), asyncio.create_task(watched.follow(session, namespace))]
        written_before = await everybodys_writes(session)
        live_before, began = await etcd_live_bytes(), time.monotonic()
        async with session.post(url_of("personalizationbatches", namespace), json=batch(namespace, options)) as answer:
            assert answer.status == 201, await answer.text()
        memory = await disturb(operator, pods, watched, options, choice)
        ended = await watched.ended(1)
        seconds = time.monotonic() - began
        wrong = list(watched.falls)
        wrong += miscounted(storage, namespace, ended, options.subjects, 1)
        if watched.largest > 20_000:
            wrong.append(f"the status had {watched.largest} bytes")
        report["first"] = {
            "seconds": round(seconds), "workers_lives": pods.lives, "status_bytes": watched.largest,
            "operator_mb": max(memory, operator.memory_mb()), "shards": ended["status"]["shards"]["total"],
            "etcd_live_bytes_a_subject": round((await etcd_live_bytes() - live_before) / options.subjects, 2),
            "writes": writes(namespace, seconds, pods.lives),
            "everybodys_writes_a_subject": round(
                (await everybodys_writes(session) - written_before) / options.subjects, 4
            ),
        }  # fmt: skip
        if not options.once:
            report["again"], more = await again(session, storage, namespace, watched, lines)
            wrong += more
        report["reports"] = {
            "count": len(LATENCIES), **{f"p{p}_ms": round(1000 * percentile(LATENCIES, p), 1) for p in (50, 99, 100)}
        }  # fmt: skip
        report["seconds_until_taken_over"] = pods.seconds_until_taken_over()
        report |= {"commands": pods.commands, "errors_logged": operator.said("ERROR")[:5], "wrong": wrong}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pods.threads.shutdown(wait=False, cancel_futures=True)
    operator.process.terminate()
    operator.process.wait()
    return report


async def disturb(
    operator: Operator, pods: Pods, watched: Watched, options: argparse.Namespace, choice: random.Random
) -> float:
    """Kills and losses, spread over the work; the most memory that a killed operator had."""
    most, lost = 0.0, 0
    while not (
        watched.now.get("status", {}).get("counts", {}).get("succeeded")
        or watched.now.get("status", {}).get("completionTime")
    ):
        await asyncio.sleep(0.5)
    for kill in range(max(options.kills, options.lost)):
        await asyncio.sleep(choice.uniform(0.5, 4.0))
        if "completionTime" in watched.now.get("status", {}):
            break
        if kill < options.kills:
            with contextlib.suppress(OSError, StopIteration):
                most = max(most, operator.memory_mb())
            operator.kill()
            operator.start()
        if lost < options.lost * (kill + 1) // max(options.kills, options.lost):
            lost += 1
            await pods.lose()
    return most


async def again(
    session: aiohttp.ClientSession, storage: Seaweed, namespace: str, watched: Watched, lines: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """The same once more, unchanged; then with one picture changed, one line removed and one added."""
    url, headers = url_of("personalizationbatches", namespace, NAME), {"Content-Type": "application/merge-patch+json"}

    subjects = len(lines)

    async def revise(revision: int) -> tuple[K8sObject, float]:
        began = time.monotonic()
        change = json.dumps({"spec": {"revision": revision}})
        async with session.patch(url, data=change, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        ended = await watched.ended(revision)
        return ended["status"], round(time.monotonic() - began)

    unchanged, unchanged_seconds = await revise(2)
    wrong = []
    if (unchanged["counts"]["skipped"], unchanged["counts"]["succeeded"]) != (subjects, 0):
        wrong.append(f"unchanged: {unchanged['counts']}")
    storage.client().put_object(Bucket="catalogue", Key="night/changed.png", Body=b"changed")
    changed = [*lines[1:-1], {**lines[-1], "images": ["s3://catalogue/night/changed.png"]}, {**lines[0], "id": "new"}]
    put_lines(storage, changed)
    revised, _ = await revise(3)
    counts, plan = revised["counts"], revised["plan"]
    if (counts["succeeded"], counts["skipped"], plan["removed"]) != (2, subjects - 2, 1):
        wrong.append(f"one changed, one removed, one added: {counts}, {plan}")
    return {"unchanged_seconds": unchanged_seconds, "changed": counts | {"removed": plan["removed"]}}, wrong


def miscounted(storage: Seaweed, namespace: str, batch: K8sObject, subjects: int, revision: int) -> list[str]:
    """What the status says that the results do not."""
    key = f"{namespace}/{namespace}/.batches/{NAME}/{revision}/results.jsonl"
    body = storage.client().get_object(Bucket="artifacts", Key=key)["Body"]
    numbers = [json.loads(line)["line"] for line in body.iter_lines()]
    counts = batch["status"]["counts"]
    wrong = []
    if sorted(numbers) != list(range(1, subjects + 1)):
        wrong.append(f"{len(numbers)} lines in the results, {len(set(numbers))} of them different; expected {subjects}")
    if (counts["succeeded"], counts["total"], counts["pending"]) != (subjects, subjects, 0):
        wrong.append(f"the status counts {counts}")
    return wrong


def writes(namespace: str, seconds: float, lives: int) -> dict[str, Any]:
    """The operator's, by the API server's audit log."""
    mine: collections.Counter[str] = collections.Counter()
    for event in audited([namespace]):
        on = event["objectRef"]
        if event["verb"] in WRITES and event["user"].get("username") == USER:
            mine[f"{event['verb']} {on['resource']}{'/' + on['subresource'] if 'subresource' in on else ''}"] += 1
    return {
        "operator": mine.total(), "allowed": round(2 * seconds / 60 + 10 * lives), "of_the_operator": dict(mine),
    }  # fmt: skip


async def everybodys_writes(session: aiohttp.ClientSession) -> int:
    """To what a batch is made of, by the API server's own count: Job controller, scheduler and kubelet included."""
    async with session.get("/metrics") as answer:
        text = await answer.text()
    total = 0
    for line in text.splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels["verb"] in ("POST", "PUT", "PATCH", "DELETE") and labels["resource"] in COUNTED:
                total += round(float(line.rpartition(" ")[2]))
    return total


async def etcd_live_bytes() -> int:
    """Keys and values as they are now, without older revisions, by etcd's own word; 0 where it cannot be asked."""
    everything = {"key": base64.b64encode(b"\0").decode(), "range_end": base64.b64encode(b"\0").decode()}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post("http://127.0.0.1:2379/v3/kv/range", json=everything) as answer,
        ):
            found = (await answer.json()).get("kvs", [])
    except aiohttp.ClientError:
        return 0
    return sum(3 * len(each.get(part, "")) // 4 for each in found for part in ("key", "value"))


if __name__ == "__main__":
    raise SystemExit(main())
