import torch

from likeness_lab.judge.mobilenet import new_mobilenet


def test_the_network_has_the_size_the_paper_gives() -> None:
    network = new_mobilenet()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert abs(parameters - 2.22e6) < 0.02e6  # 3.5 M of the paper less the classifier's 1280 x 1000 + 1000


def test_a_picture_becomes_1280_maps_at_a_thirty_second_of_its_side() -> None:
    assert new_mobilenet().eval()(torch.rand(1, 3, 64, 64)).shape == (1, 1280, 2, 2)
