import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_api.order import Order, OrderModel, OrderStorage
from likeness_api.personalization import Preview, SubjectImage
from likeness_api.tuning import ResolvedTuning

LABELS = st.from_regex(r"[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}", fullmatch=True)
URIS = st.from_regex(r"s3://[a-z0-9]{3,20}(/[A-Za-z0-9_ é]{1,20}){1,3}", fullmatch=True)
CAPTIONS = st.from_regex(r"[a-z ]{0,40}\{token\}[a-zé ]{0,40}", fullmatch=True)
IMAGES = st.builds(SubjectImage, uri=URIS, caption=st.none() | CAPTIONS)
PREVIEWS = st.builds(Preview, prompt=st.text(min_size=1, max_size=200), seed=st.none() | st.integers(0, 2**31 - 1))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    return Order(
        namespace=draw(LABELS),
        name=draw(LABELS),
        token=f"<{draw(LABELS)}>",
        images=draw(st.lists(IMAGES, min_size=1, max_size=8)),
        output=draw(URIS),
        previews=draw(st.lists(PREVIEWS, max_size=8)),
        tuning=ResolvedTuning(steps=draw(st.integers(0, 1000)), seed=draw(st.integers(0, 2**31 - 1))),
        model=OrderModel(uri=draw(URIS)),
        rows_per_pass=draw(st.none() | st.integers(1, 64)),
        storage=OrderStorage(source_prefixes=draw(st.lists(URIS)), output_prefixes=draw(st.lists(URIS))),
    )


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
        pytest.param('{"kind": "Order", "shell": "rm"}', "namespace", id="fields missing"),
    ],
)
def test_a_bad_order_is_refused_in_one_sentence_that_names_the_field(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=rf"^order: {part}: ") as refusal:
        Order.decode(text)
    assert "\n" not in str(refusal.value)
