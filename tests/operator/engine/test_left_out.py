from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api_stub import ApiStub
from likeness_operator.engine import watch_cache
from likeness_operator.engine.key import Key
from likeness_operator.engine.left_out import LeftOutObjects
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.personalization.facts import KIND
from likeness_operator.personalization.lifecycle import PERSONALIZATION

BELOW = "/apis/likeness.dev/v1alpha1/namespaces/flood/personalizations"


class Scene:
    """A cache with room for ten objects, and an API server with as many as a test puts there."""

    def __init__(self, server: ApiStub, api: ApiServer, count: int) -> None:
        self.server = server
        self.cache = WatchCache(WorkQueue(clock=lambda: 0.0), lambda: 0.0, {KIND: PERSONALIZATION})
        self.left_out = LeftOutObjects(api, self.cache, {KIND: PERSONALIZATION}, "me", lambda: datetime.now(UTC))
        for number in range(count):
            metadata = {"namespace": "flood", "name": f"p{number}"}
            manifest = server.put(f"{BELOW}/p{number}", {"metadata": metadata, "spec": {}})
            self.cache.saw_object(KIND, manifest, None)

    def end(self, number: int) -> None:
        self.cache.saw_object(KIND, self.server.objects.pop(f"{BELOW}/p{number}"), "DELETED")

    def kept(self) -> set[str]:
        return {key.name for key in tuple(self.cache.keys())}

    def events(self) -> list[str]:
        return [path for path in self.server.objects if "/events/" in path]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_cache, "MOST_OBJECTS", 10)


async def test_where_nothing_is_left_out_nothing_is_asked(server: ApiStub, api: ApiServer) -> None:
    scene = Scene(server, api, 5)
    await scene.left_out.look()
    assert server.calls == []


async def test_it_is_said_once_with_an_event(server: ApiStub, api: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(server, api, 8)
    for _ in range(3):
        await scene.left_out.look()
    assert len(scene.events()) == 1
    assert [record.getMessage() for record in caplog.records if "its share" in record.getMessage()] == [
        "flood has more unfinished objects than its share: p5 and maybe others wait"
    ]
    assert len(scene.kept()) == 5


async def test_those_that_were_left_out_are_taken_up_as_others_end(server: ApiStub, api: ApiServer) -> None:
    scene = Scene(server, api, 8)
    for number in range(8):
        scene.end(number)
        await scene.left_out.look()
        assert scene.kept() == {f"p{other}" for other in range(number + 1, min(number + 6, 8))}
    assert scene.cache.left_out() == ()


async def test_where_those_left_out_were_deleted_nothing_is_left_to_do(server: ApiStub, api: ApiServer) -> None:
    scene = Scene(server, api, 8)
    for number in (5, 6, 7, 0):
        scene.end(number)
    await scene.left_out.look()
    assert scene.cache.left_out() == ()
    assert scene.kept() == {"p1", "p2", "p3", "p4"}


async def test_an_error_loses_none_of_them(server: ApiStub, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(server, api, 6)
    scene.end(0)
    with monkeypatch.context() as broken:
        broken.setattr(server, "unavailable", True)
        await scene.left_out.look()
    assert Key(KIND, "flood", "p5") in [some.key for some in scene.cache.left_out()]
    await scene.left_out.look()
    assert scene.kept() == {"p1", "p2", "p3", "p4", "p5"}
