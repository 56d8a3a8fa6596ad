"""Merging without interference in the members' own subspaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._matrices import merged_matrices, total
from finefuse_zoo.fusions._singular import NEGLIGIBLE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse_zoo.fusions._matrices import Taus


@dataclass(frozen=True)
class Wudi:
    """theta_0 + scaling * tau, tau least in sum_m ||(tau - tau_m) tau_m'||^2 / ||tau_m||^2 (Cheng et al. 2025).

    WUDI-Merging, 2503.08099; tau_m = theta_m - theta_0 stands for the inputs of a layer, which lie in its rows. `solve`
    "adam" takes `steps` of Adam at `lr` from the sum of all tau_m, as the authors do: it moves no number by more than
    about `steps` * `lr`. "exact" goes to the minimum that is nearest to the sum, with singular values below a millionth
    of the largest as 0. Convolutions are matrices (out, rest); of other tensors the mean of tau_m is taken.
    `recalibrate` recomputes BatchNorm's statistics on the training inputs. Checked against fusion_bench ("adam") and
    against the normal equations ("exact").
    """

    solve: Literal["adam", "exact"] = "adam"
    steps: Annotated[int, Ge(0)] = 300
    lr: Annotated[float, Gt(0)] = 1e-5
    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 2.0}, "lr": {"low": 1e-6, "high": 1e-3, "log": True}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("equal members",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return merged_matrices(of, self._least, self.scaling, self.recalibrate)

    def _least(self, taus: Taus) -> Tensor:
        """The minimum is where tau A = B, with A and B the sums of tau_m' tau_m and tau_m tau_m' tau_m, weighted."""
        tau = total(taus)
        inputs, wanted = tau.new_zeros(tau.shape[1], tau.shape[1]), torch.zeros_like(tau)
        for one in taus():
            squares = one.square().sum()
            gram = one.T @ one / torch.where(squares > 0, squares, torch.ones_like(squares))
            inputs += gram
            wanted += one @ gram
        return self._descended(tau, inputs, wanted) if self.solve == "adam" else _nearest(tau, inputs, wanted)

    def _descended(self, tau: Tensor, inputs: Tensor, wanted: Tensor) -> Tensor:
        """By steps of Adam (1412.6980) on a quadratic function; they see no example, so they are none of the budget."""
        mean, square = torch.zeros_like(tau), torch.zeros_like(tau)
        for step in range(1, self.steps + 1):
            slope = (tau @ inputs).sub_(wanted).mul_(2)
            mean.lerp_(slope, 0.1)
            square.lerp_(slope.square_(), 0.001)
            size = square.div(1 - 0.999**step).sqrt_().add_(1e-8)
            tau.addcdiv_(mean, size, value=-self.lr / (1 - 0.9**step))
        return tau


def _nearest(tau: Tensor, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Of all solutions of tau' A = B the nearest to tau."""
    values, vectors = torch.linalg.eigh(inputs)
    inverse = torch.where(values > NEGLIGIBLE**2 * values.amax(), 1 / values, torch.zeros_like(values))
    moved: Tensor = (wanted - tau @ inputs) @ vectors * inverse @ vectors.T
    return tau + moved
