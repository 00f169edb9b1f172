import pytest

from likeness_api.order import Order, OrderStorage
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.order.allowed import check_allowed
from tiny_models import altered

TENANT = OrderStorage(source_prefixes=["s3://catalogue/shop"], output_prefixes=["s3://artifacts/shop/"])


def placed(order: Order, image: str, output: str) -> Order:
    return altered(order, storage=TENANT, images=[SubjectImage(uri=image)], output=output)


@pytest.mark.parametrize("output", ["s3://artifacts/shop", "s3://artifacts/shop/", "s3://artifacts/shop/deep/er"])
def test_what_is_below_the_prefixes_is_allowed(order: Order, output: str) -> None:
    check_allowed(placed(order, "s3://catalogue/shop/x.jpg", output))


@pytest.mark.parametrize(
    ("image", "output", "field"),
    [
        ("s3://catalogue/shopping/x.jpg", "s3://artifacts/shop", "images"),
        ("s3://artifacts/shop/x.jpg", "s3://artifacts/shop", "images"),
        ("file:///etc/passwd", "s3://artifacts/shop", "images"),
        ("s3://catalogue/shop/x.jpg", "s3://artifacts", "output"),
        ("s3://catalogue/shop/x.jpg", "s3://catalogue/shop", "output"),
        ("s3://catalogue/shop/x.jpg", "file:///tmp", "output"),
    ],
)
def test_everything_else_is_refused_by_name(order: Order, image: str, output: str, field: str) -> None:
    with pytest.raises(RunError, match=f"order.{field}") as caught:
        check_allowed(placed(order, image, output))
    assert caught.value.reason == Reason.BUCKET_NOT_ALLOWED
