import pytest

from likeness_api.order import OrderStorage
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.stores import Stores

NOWHERE = OrderStorage(source_prefixes=[], output_prefixes=[])


def test_a_store_is_opened_once_for_each_scheme() -> None:
    stores = Stores(NOWHERE, lambda _seconds: None)
    assert isinstance(stores.of("file:///a"), LocalStore)
    assert stores.of("file:///a") is stores.of("file:///b")


def test_an_address_of_no_known_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="address scheme is 'gs'; expected s3 or file"):
        Stores(NOWHERE, lambda _seconds: None).of("gs://bucket/x")
