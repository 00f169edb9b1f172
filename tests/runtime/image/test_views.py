import torch
from PIL import Image, ImageChops, ImageOps

from likeness_runtime.image.decode import squared
from likeness_runtime.image.views import CROPS, views_of


def test_the_whole_square_comes_first_and_every_view_has_its_mirror_image(photo: Image.Image) -> None:
    views = views_of([photo], 32, torch.Generator().manual_seed(0))
    half = 1 + CROPS
    assert not ImageChops.difference(views[0], squared(photo, 32)).getbbox()
    for view, mirrored in zip(views[:half], views[half:], strict=True):
        assert not ImageChops.difference(ImageOps.mirror(view), mirrored).getbbox()


def test_every_picture_gives_equally_many_views(photo: Image.Image) -> None:
    one = views_of([photo], 32, torch.Generator().manual_seed(0))
    assert len(views_of([photo] * 3, 32, torch.Generator().manual_seed(0))) == 3 * len(one)


def test_a_seed_means_the_same_crops(photo: Image.Image) -> None:
    first, again = (views_of([photo], 32, torch.Generator().manual_seed(5)) for _ in range(2))
    other = views_of([photo], 32, torch.Generator().manual_seed(6))
    assert [view.tobytes() for view in first] == [view.tobytes() for view in again]
    assert [view.tobytes() for view in first] != [view.tobytes() for view in other]
