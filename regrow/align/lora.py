"""Low-rank adapters (LoRA, Hu et al. 2022) through `peft`: they alone are trained, then merged.

peft puts them around the decoder's linear maps, so the training loop, its checkpoints and its exact
resume are the usual ones; what is frozen stands beside in the working precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regrow.errors import RegrowError
from regrow.files import write_atomic
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import names_of
from regrow.seeds import derive


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise RegrowError("settings.lora needs peft: pip install 'regrow[lora]'") from error
    return peft


class Adapters:
    """Adapters in a decoder, which stays changed until `merge`.

    `targets` are names of linear maps in its blocks (q, k, v, out, gate, up, down). All other
    weights are frozen and cast to `dtype`; `merge` gives them back in fp32 with the adapters added.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        rank: int,
        alpha: float,
        dropout: float,
        targets: tuple[str, ...],
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        leaves = {name.rsplit(".", 1)[-1] for name, one in model.named_modules() if _linear(one)}
        if missing := sorted(set(targets) - leaves):
            raise RegrowError(
                f"lora.targets names {missing[0]!r}; this model has {', '.join(sorted(leaves))}"
            )
        self.model = model
        self._frozen = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.config = _peft().LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets)
        )
        model.to(dtype)
        torch.manual_seed(derive(seed, "adapters"))
        _peft().inject_adapter_in_model(self.config, model)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The adapters' weights by our name of the map: blocks.0.attention.q.lora_A."""
        return {
            name.replace(".default.weight", ""): p.detach()
            for name, p in self.model.named_parameters()
            if ".lora_" in name
        }

    def merge(self) -> None:
        """Take the adapters out of the model, whose weights then hold what they added."""
        for name, layer in list(self.model.named_modules()):
            if not hasattr(layer, "lora_A"):
                continue
            layer.float()
            delta = layer.get_delta_weight("default")
            parent, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(parent), leaf, layer.get_base_layer())
            self._frozen[f"{name}.weight"] += delta.detach().to(self._frozen[f"{name}.weight"])
        self.model.load_state_dict(self._frozen, assign=True)
        self.model.requires_grad_(True)

    def save(self, folder: Path, base: str) -> bool:
        """Write adapter_model.safetensors and adapter_config.json; call it before `merge`.

        Returns whether `peft.PeftModel.from_pretrained` can put them on the parent's folder as
        transformers loads it. Where transformers joins or turns the maps (GPT-2, BLOOM, GPT-NeoX)
        it cannot, and the names are ours.
        """
        from safetensors.torch import save

        named = _theirs(self.model.config, list(self._frozen))
        maps = {name.rpartition(".lora_")[0] for name in self.weights}
        shared = maps <= named.keys()
        tensors = {}
        for name, weight in self.weights.items():
            where, _, side = name.rpartition(".lora_")
            module = named[where] if shared else where
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = weight.float().contiguous()
        self.config.base_model_name_or_path = base
        self.config.task_type = "CAUSAL_LM"
        if shared:
            self.config.target_modules = sorted({named[one].rsplit(".", 1)[-1] for one in maps})
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        write_atomic(folder / "adapter_model.safetensors", save(tensors, {"format": "pt"}))
        return shared


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def _theirs(config: ModelConfig, parameters: list[str]) -> dict[str, str]:
    """transformers' name of every map that it stores by itself and as we have it."""
    return {
        stored.parts[0].removesuffix(".weight"): stored.name.removesuffix(".weight")
        for stored in names_of(config).layout(config, parameters)
        if len(stored.parts) == 1 and not (stored.transposed or stored.turns or stored.paired)
    }
