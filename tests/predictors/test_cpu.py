import torch

from predictors.cpu import tune_cpu


def test_denormals_become_zero() -> None:
    threads = torch.get_num_threads()
    tune_cpu(threads=1)
    assert torch.get_num_threads() == 1
    assert float(torch.tensor([1e-30]) * torch.tensor([1e-10])) == 0.0
    torch.set_num_threads(threads)
