import pytest
import torch
from torch import Tensor

from likeness_lab.judge.identity import retrieve, similarity


def colour(images: Tensor) -> Tensor:
    """The mean colour, as unit features: a judge simple enough to know its answers."""
    return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)


def plain(*rgb: float) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 64, 64)


def test_a_picture_is_wholly_like_itself() -> None:
    assert similarity(plain(1, 0, 0), plain(1, 0, 0), colour).item() == pytest.approx(1)


def test_similarity_is_the_mean_over_all_references() -> None:
    references = torch.cat([plain(1, 0, 0), plain(0, 1, 0)])
    assert similarity(plain(1, 0, 0), references, colour).item() == pytest.approx(0.5)


def test_retrieval_ranks_each_subject_once_by_its_closest_picture() -> None:
    gallery = torch.cat([plain(0, 1, 0), plain(1, 0, 0), plain(0.9, 0.1, 0), plain(0, 0.2, 1)])
    assert retrieve(plain(1, 0, 0), gallery, [7, 8, 8, 9], colour) == [[8, 7, 9]]


def test_a_gallery_without_enough_subjects_is_refused() -> None:
    with pytest.raises(ValueError, match="subjects: 1 given, expected 2"):
        retrieve(plain(1, 0, 0), torch.cat([plain(1, 0, 0)] * 2), [7], colour)
