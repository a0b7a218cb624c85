"""How far from the input each parameter of a backbone lies, read off its structure, never names.

Depth 0 is the stem (patch embedding, positions, class token, first convolutions), 1 to n are the
blocks, n + 1 is the tail: what is registered behind the last block, such as the final norm or
auxiliary heads. Backbones register their modules in the order of the data flow.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from experiments.models.backbone import Backbone
from launcher.errors import ConfigError


class Layout:
    """The depths of a backbone's modules and parameters."""

    def __init__(self, backbone: Backbone) -> None:
        blocks = backbone.blocks()
        self.num_blocks = len(blocks)
        self._backbone = backbone
        self._depths = _module_depths(backbone, blocks)

    def parameters(self) -> Iterator[tuple[nn.Parameter, int]]:
        """Each parameter once, with its depth."""
        seen: set[int] = set()
        for module in self._backbone.modules():
            for parameter in module.parameters(recurse=False):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter, self._depths[id(module)]

    def last(self, blocks: int) -> list[tuple[str, nn.Module]]:
        """Largest modules in the last blocks or behind them that can learn, with dotted names.

        Raises:
            ConfigError: there are not as many blocks.
        """
        if not 1 <= blocks <= self.num_blocks:
            legal = f"legal: 1 to {self.num_blocks}; finetune=frozen for none of them"
            raise ConfigError(
                f"`finetune.blocks={blocks}` does not fit `backbone={self._backbone.spec.name}`,"
                f" which has {self.num_blocks} blocks",
                hint=legal if self.num_blocks else "use finetune=full: nothing in it learns",
            )
        first = self.num_blocks - blocks + 1
        found: list[tuple[str, nn.Module]] = []
        inside: set[int] = set()
        for name, module in self._backbone.named_modules():
            if self._depths[id(module)] < first or id(module) in inside:
                continue
            inside.update(id(part) for part in module.modules())
            if any(True for _ in module.parameters()):
                found.append((name, module))
        return found


def _module_depths(backbone: Backbone, blocks: list[nn.Module]) -> dict[int, int]:
    in_block = {id(m): depth for depth, block in enumerate(blocks, 1) for m in block.modules()}
    modules = [id(module) for module in backbone.modules()]
    of_last = [place for place, key in enumerate(modules) if in_block.get(key) == len(blocks)]
    end = max(of_last, default=-1)
    tail = len(blocks) + 1
    return {
        key: in_block.get(key, tail if blocks and place > end else 0)
        for place, key in enumerate(modules)
    }
