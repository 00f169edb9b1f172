"""HTTP for workers: POST /shards with a ShardReport; the answer may be one more shard to work on."""

from __future__ import annotations

from aiohttp import web

from likeness_api.shard_report import ShardReport
from likeness_operator.batch.facts import BATCH_KIND
from likeness_operator.batch.job import SHARDS_PATH
from likeness_operator.batch.shard_ledgers import ShardLedgers, Unheard
from likeness_operator.engine.key import Key
from likeness_operator.kubernetes.token_review import Sender
from likeness_operator.reports_server import Reports

LONGEST_SHARD_REPORT_BYTES = 131_072
"""Four shards, each with ten samples: an id of a quarter of a kilobyte and 512 characters in any script."""


def shard_reports(ledgers: ShardLedgers) -> Reports:
    """What the server of reports does with those of workers."""

    def take(sender: Sender, text: bytes) -> web.Response:
        report = ShardReport.decode(text)
        answer = ledgers.report(Key(BATCH_KIND, sender.namespace, report.batch), sender.pod_uid, report)
        if answer is Unheard.UNKNOWN_POD:
            raise web.HTTPForbidden(text=f"batch {sender.namespace}/{report.batch} has no such worker\n")
        if answer is Unheard.NOT_YET:
            raise web.HTTPServiceUnavailable(text="the batch hands out no shards now; ask again in a moment\n")
        return web.json_response(text=answer.encode())

    return Reports(SHARDS_PATH, LONGEST_SHARD_REPORT_BYTES, take)
