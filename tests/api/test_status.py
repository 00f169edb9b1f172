from datetime import UTC, datetime

from likeness_api.accept import Refusal
from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import ManifestRef, Preview, SubjectImage
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_api.status import status_of

STARTED, ENDED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
ORDER = Order(
    run=RunOrder(
        model=OrderModel(uri="builtin://pocket"), storage=OrderStorage(source_prefixes=[], output_prefixes=[])
    ),
    subject=SubjectOrder(
        namespace="shop",
        name="pot",
        token="<pot>",
        images=[SubjectImage(uri="s3://catalogue/pot.png")],
        output="s3://artifacts/shop",
        previews=[Preview(prompt="a pot")],
    ),
)


def test_a_good_result_s_status_has_its_conditions_the_terminal_one_first() -> None:
    manifest = ManifestRef(uri="s3://artifacts/shop/pot/d/manifest.json", sha256="0" * 64)
    status = status_of(ORDER, Result(reason=Reason.TUNED, message="done", manifest=manifest), STARTED, ENDED)
    assert [(each.type, each.status) for each in status.conditions] == [
        ("Succeeded", "True"),
        ("Accepted", "True"),
        ("EncoderUsed", "False"),
        ("TokenInPrompts", "False"),
    ]
    assert (status.start_time, status.completion_time) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    assert status.manifest == manifest


def test_a_result_without_a_manifest_is_a_failure() -> None:
    status = status_of(ORDER, Result(reason=Reason.ACCESS_DENIED, message="no"), STARTED, ENDED)
    assert (status.conditions[0].type, status.conditions[0].reason) == ("Failed", "AccessDenied")
    assert status.failure is not None
    assert status.failure.exit_code is not None


def test_a_refused_order_is_its_own_result() -> None:
    refusal = Refusal(Reason.LIMIT_EXCEEDED, "too many")
    status = status_of(refusal, refusal, STARTED, ENDED)
    assert [(each.type, each.status) for each in status.conditions] == [("Failed", "True"), ("Accepted", "False")]
    assert status.failure is not None
    assert (status.failure.reason, status.failure.message) == (Reason.LIMIT_EXCEEDED, "too many")
