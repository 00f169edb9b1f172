from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import SubjectImage
from likeness_api.published import Ordered
from likeness_runtime.order.prepare import LocatedModels, PreparedSubject, groups_of
from likeness_runtime.order.publish import Place
from likeness_runtime.storage.local import LocalStore

RUN = RunOrder(model=OrderModel(uri="builtin://pocket"), storage=OrderStorage(source_prefixes=[], output_prefixes=[]))

MODEL = (Path("/models"), "0" * 64)
PLACE = Place(
    LocalStore(),
    "file:///out/",
    Ordered(home="file:///", namespace="shop", name="pot", token="<pot>", images=1, previews=1),
)


def a_subject(number: int) -> PreparedSubject:
    subject = SubjectOrder(
        namespace="shop",
        name=f"pot-{number}",
        token="<pot>",
        images=[SubjectImage(uri="s3://catalogue/pot.png")],
        output="s3://artifacts/shop",
    )
    return PreparedSubject(
        Order(run=RUN, subject=subject), [], LocatedModels(MODEL, None), digest="", place=PLACE, started=0.0
    )


@given(st.integers(0, 20), st.integers(1, 9))
def test_groups_hold_every_subject_once_in_its_order_and_no_more_than_their_size(count: int, size: int) -> None:
    subjects = [a_subject(number) for number in range(count)]
    groups = groups_of(subjects, size)
    assert [each for group in groups for each in group] == subjects
    assert all(1 <= len(group) <= size for group in groups)
    assert len(groups) == -(-count // size)
