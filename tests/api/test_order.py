import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import Preview, SubjectImage
from likeness_api.tuning import ResolvedTuning

LABELS = st.from_regex(r"[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}", fullmatch=True)
URIS = st.from_regex(r"s3://[a-z0-9]{3,20}(/[A-Za-z0-9_ é]{1,20}){1,3}", fullmatch=True)
CAPTIONS = st.from_regex(r"[a-z ]{0,40}\{token\}[a-zé ]{0,40}", fullmatch=True)
SEEDS = st.integers(0, 2**31 - 1)
IMAGES = st.builds(SubjectImage, uri=URIS, caption=st.none() | CAPTIONS)
PREVIEWS = st.builds(Preview, prompt=st.text(min_size=1, max_size=200), seed=st.none() | SEEDS)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    run = RunOrder(
        tuning=ResolvedTuning(steps=draw(st.integers(0, 1000)), seed=draw(SEEDS)),
        model=OrderModel(uri=draw(URIS)),
        encoder=draw(st.none() | st.builds(OrderModel, uri=URIS)),
        rows_per_pass=draw(st.none() | st.integers(1, 64)),
        storage=OrderStorage(source_prefixes=draw(st.lists(URIS)), output_prefixes=draw(st.lists(URIS))),
    )
    subject = SubjectOrder(
        namespace=draw(LABELS),
        name=draw(LABELS),
        token=f"<{draw(LABELS)}>",
        images=draw(st.lists(IMAGES, min_size=1, max_size=8)),
        output=draw(URIS),
        previews=draw(st.lists(PREVIEWS, max_size=8)),
        seed=draw(st.none() | SEEDS),
    )
    return Order(run=run, subject=subject)


VERSION_1 = (
    '{"kind":"Order","version":1,"namespace":"shop","name":"pot","token":"<pot>",'
    '"images":[{"uri":"s3://catalogue/a.png","caption":"a {token} on a table"},{"uri":"s3://catalogue/b.png"}],'
    '"output":"s3://artifacts/shop","previews":[{"prompt":"a <pot> on a beach","seed":3},{"prompt":"a <pot>"}],'
    '"tuning":{"steps":20,"batchSize":8,"rank":8,"alpha":"0.6","learningRate":"0.01",'
    '"embeddingLearningRate":"0.002","resolution":512,"seed":7},"model":{"uri":"s3://models/sd15",'
    '"cache":"/models/cache"},"encoder":{"uri":"s3://models/encoder"},"storage":{"endpoint":"http://s3:8333",'
    '"region":"eu-1","pathStyle":true,"checksumMode":"WhenRequired","sourcePrefixes":["s3://catalogue"],'
    '"outputPrefixes":["s3://artifacts"]},"device":"cuda","rowsPerPass":4}'
)
"""As an operator of the version before wrote it into a Job."""


def test_an_order_of_version_1_is_read_whole() -> None:
    order = Order.decode(VERSION_1)
    before = json.loads(VERSION_1)
    assert json.loads(order.encode()) == {
        "kind": "Order",
        "version": 2,
        "run": {name: before[name] for name in ("model", "encoder", "tuning", "storage", "device", "rowsPerPass")},
        "subject": {name: before[name] for name in ("namespace", "name", "token", "images", "output", "previews")},
    }
    assert order.tuning == order.run.tuning


def test_a_subject_s_own_seed_stands_in_place_of_the_run_s() -> None:
    order = Order.decode(VERSION_1)
    own = order.model_copy(update={"subject": order.subject.model_copy(update={"seed": 0})})
    assert (order.tuning.seed, own.tuning.seed) == (7, 0)
    assert own.tuning.model_copy(update={"seed": 7}) == order.tuning


@given(orders())
def test_an_order_survives_the_way_to_the_runtime(order: Order) -> None:
    arrived = Order.decode(order.encode())
    assert arrived == order
    assert arrived.encode() == order.encode()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("", "document", id="nothing"),
        pytest.param("[]", "document", id="a list"),
        pytest.param('{"kind": "Odor"}', "kind", id="another kind"),
        pytest.param('{"kind": "Order", "shell": "rm"}', "run", id="fields missing"),
        pytest.param('{"kind": "Order", "version": 3}', "version", id="a later version"),
        pytest.param('{"kind": "Order", "version": 1}', "run.model", id="fields of version 1 missing"),
        pytest.param(VERSION_1.replace('"token"', '"shell":"rm","token"'), "subject.shell", id="one field too many"),
    ],
)
def test_a_bad_order_is_refused_in_one_sentence_that_names_the_field(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=rf"^order: {part}: ") as refusal:
        Order.decode(text)
    assert "\n" not in str(refusal.value)
