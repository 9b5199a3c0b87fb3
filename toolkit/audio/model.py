"""What makes an audio network trainable by the runner: losses, and the modes that mmengine calls."""

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class AudioModel(BaseModel):
    """A network of waveforms with its losses.

    Args:
        network: config of a network: attributes `sample_rate`, `inputs` and `outputs`, and `forward` that takes each
            input as (B, T) and gives (B, outputs, T).
        loss: config of one loss or of several, each a function of estimates and targets (B, S, T). Where the network
            has more outputs than the data set has targets, the first ones count.
        init_cfg: see mmengine.
    """

    def __init__(self, network: dict, loss: dict | list[dict] | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.network = MODELS.build(network)
        losses = [loss] if isinstance(loss, dict) else loss or []
        self.losses = [MODELS.build(one) for one in losses]

    def forward(self, inputs: Tensor, targets: Tensor | None = None, mode: str = "tensor") -> Tensor | dict:
        """Estimates of the sources, or the losses of them.

        Args:
            inputs: (B, C_in, T) in [-1, 1].
            targets: (B, S, T), for mode "loss".
            mode: "loss" for a dict of losses, "predict" or "tensor" for the estimates.

        Returns:
            (B, outputs, T), or a dict.
        """
        estimates = self.network(*inputs.unbind(1))
        if mode != "loss":
            return estimates
        estimates = estimates[:, : targets.shape[1]]
        return {f"loss_{type(loss).__name__}": loss(estimates, targets) for loss in self.losses}
