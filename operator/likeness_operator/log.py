"""Logs on standard error: one JSON object a line for machines, one sentence a line for people."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

ABOUT: ContextVar[str] = ContextVar("about", default="-")
"""Namespace and name of the Personalization that is being reconciled; on every line logged meanwhile."""
SENTENCE = "%(asctime)s %(levelname)s %(about)s: %(message)s"


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "personalization": ABOUT.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class SentenceFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.about = ABOUT.get()
        return super().format(record)


def set_up(form: str) -> None:
    """Sends logs to standard error; `form` is `json` or `text`. Of kopf only warnings and errors are kept."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else SentenceFormatter(SENTENCE))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
