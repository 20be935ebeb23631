"""Makes the TorchScript programs of tests/metrics/torchscript_extractor_test.cpp. Run here: python3 make.py (needs torch)."""
import torch
from torch import Tensor, nn


class Means(nn.Module):
    """Mean and largest value of each colour: 6 features of pictures or videos of any size."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.float().flatten(2)
        return torch.cat([flat.mean(2), flat.amax(2)], 1)


class Tuple(nn.Module):
    def forward(self, x: Tensor):
        return x.float().mean(2), x


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean()


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.float().flatten(1)[:, :4]
        return torch.where(x.sum() > 0, y / 0 - y / 0, y)


class OtherArgument(nn.Module):
    def forward(self, x: Tensor, temperature: float) -> Tensor:
        return x.float().flatten(2).mean(2) * temperature


class OnlyLarge(nn.Module):
    def forward(self, x: Tensor, resize: bool = False) -> Tensor:
        assert resize and x.shape[-1] >= 32, "pictures must be 32 wide at least"
        return x.float().flatten(2).mean(2)


for name, module in {"means": Means(), "tuple": Tuple(), "flat": Flat(), "nan": NotANumber(),
                     "other_argument": OtherArgument(), "only_large": OnlyLarge()}.items():
    torch.jit.script(module).save(name + ".pt")
