from __future__ import annotations

import contextvars
import json
import logging

from likeness_operator.log import ABOUT, JsonFormatter


def a_record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("likeness_operator.worker", logging.WARNING, __file__, 1, message, arguments, None)


def test_a_line_is_one_json_object_that_names_its_personalization() -> None:
    def line() -> str:
        ABOUT.set("shop/red-teapot")
        return JsonFormatter().format(a_record("created Job %s\n", "x"))

    text = contextvars.copy_context().run(line)
    assert "\n" not in text
    told = json.loads(text)
    assert (told["personalization"], told["level"]) == ("shop/red-teapot", "warning")
    assert told["message"] == "created Job x\n"
