from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import errors, fetching, watching

from likeness_operator.kubernetes import kopf_stream
from likeness_operator.kubernetes.k8s_object import K8sObject

BIG = {"metadata": {"name": "a", "annotations": {"flood": "x" * 100_000}}, "spec": {}}
SMALL = {"metadata": {"name": "a"}, "spec": {}}
BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}


def added(manifest: K8sObject) -> dict[str, Any]:
    return {"type": "ADDED", "object": manifest | {}}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf_stream, "ANEW_AFTER_SECONDS", 0.0)


async def events_of(sent: list[dict[str, Any]], since: str | None, *, stream_lists: bool = True) -> list[Any]:
    """What kopf is told by a watch that sends this and then breaks."""
    settings = kopf.OperatorSettings()
    settings.watching.initial_streaming = stream_lists

    async def watch_objs(**_: Any) -> AsyncIterator[Any]:
        for event in sent:
            yield event

    return [event async for event in kopf_stream._cut_events(watch_objs)(since=since, settings=settings)]


async def test_kopf_gets_and_holds_only_what_is_read() -> None:
    sent = [added(BIG)]
    assert await events_of(sent, since="7") == [added(SMALL)]
    assert sent == [added(SMALL)]


async def test_a_watch_that_breaks_before_it_has_said_all_there_is_begins_anew() -> None:
    assert await events_of([added(SMALL)], since=None) == [added(SMALL), kopf_stream.BEGIN_ANEW]


@pytest.mark.parametrize("since", [None, "7"])
async def test_a_watch_of_an_overloaded_api_server_begins_anew(since: str | None) -> None:
    overloaded = {"type": "ERROR", "object": {"code": 504, "message": "Too large resource version"}}
    assert await events_of([BOOKMARK, overloaded, added(SMALL)], since) == [BOOKMARK, kopf_stream.BEGIN_ANEW]


@pytest.mark.parametrize(("status", "begins_anew"), [(410, True), (403, False)])
async def test_a_watch_that_is_not_taken_up_begins_anew_where_its_version_is_gone(
    status: int, begins_anew: bool
) -> None:
    def watch_objs(**_: Any) -> AsyncIterator[Any]:
        raise errors.APIError("too old", status=status, headers={})

    cut = kopf_stream._cut_events(watch_objs)(since="7", settings=kopf.OperatorSettings())
    if begins_anew:
        assert [event async for event in cut] == [kopf_stream.BEGIN_ANEW]
    else:
        with pytest.raises(errors.APIError):
            await anext(cut)


async def test_any_other_error_is_kopfs_own_to_judge() -> None:
    expired: dict[str, Any] = {"type": "ERROR", "object": {"code": 410, "metadata": {}}}
    assert await events_of([expired], since="7") == [expired]


@pytest.mark.parametrize(
    ("since", "stream_lists", "sent"),
    [(None, True, [added(SMALL), BOOKMARK]), ("7", True, [added(SMALL)]), (None, False, [added(SMALL)])],
    ids=["said all", "goes on", "listed before"],
)
async def test_any_other_watch_goes_on_where_it_was(
    since: str | None, stream_lists: bool, sent: list[dict[str, Any]]
) -> None:
    assert await events_of(sent, since, stream_lists=stream_lists) == sent


async def test_pages_of_a_list_are_cut_in_place() -> None:
    page = [BIG | {}]

    async def fetch_objs(**_: Any) -> AsyncIterator[Any]:
        yield page, "7"

    assert [each async for each in kopf_stream._cut_pages(fetch_objs)()] == [([SMALL], "7")]
    assert page == [SMALL]


def test_kopf_still_calls_what_we_replace() -> None:
    """Held to a minor version by pyproject.toml; this says what to look at before it is raised."""
    source = inspect.getsource(watching.continuous_watch)
    assert "stream = watch_objs(" in source
    assert "in fetching.fetch_objs(" in source
    assert {"since", "settings"} <= inspect.signature(watching.watch_objs).parameters.keys()
    assert hasattr(errors.APIError, "status")
    assert {"settings"} <= inspect.signature(fetching.fetch_objs).parameters.keys()
