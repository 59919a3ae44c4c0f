"""What is trained of a backbone: the weights of its last blocks, or low-rank adapters of them (LoRA, by `peft`)."""

from typing import Any

from torch import nn

from imageloop.model.backbones import Features, blocks_of
from imageloop.model.network import Classifier
from imageloop.training.loop_settings import Lora


class TrainedBlocks:
    """Makes the last blocks of a classifier trainable beside its head; batch norms keep the statistics of ImageNet."""

    def __init__(self, model: Classifier, num_blocks: int, lora: Lora | None) -> None:
        model.features.requires_grad_(requires_grad=False)
        blocks = blocks_of(model.features)[-num_blocks:]
        self._adapted = _with_adapters(model.features, blocks, lora) if lora else None
        if lora is None:
            nn.ModuleList(blocks).requires_grad_()
        model.features_train = False

    def finish(self) -> None:
        """Add the adapters to the weights; the backbone has the layers that it had before."""
        if self._adapted is not None:
            self._adapted.merge_and_unload()


def _with_adapters(features: Features, blocks: list[nn.Module], lora: Lora) -> Any:
    """Put adapters beside the layers of these blocks, in place."""
    from peft import LoraConfig, LoraModel  # transformers takes seconds to load

    inside = {id(module) for block in blocks for module in block.modules()}
    names = [name for name, module in features.named_modules() if id(module) in inside and _is_adaptable(module)]
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
    return LoraModel(features, config, "default")


def _is_adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
