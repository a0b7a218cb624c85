"""Names of Hugging Face's IJepaModel in those of the official encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

OUTSIDE_BLOCKS = {
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
BLOCK = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)")
"""Version 4 of the library calls a block `encoder.layer.0`, version 5 `layers.0`."""
IN_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "mlp.fc1": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc2": "mlp.fc2",
}
QUERY_KEY_VALUE = {
    "attention.attention.query": 0,
    "attention.attention.key": 1,
    "attention.attention.value": 2,
    "attention.q_proj": 0,
    "attention.k_proj": 1,
    "attention.v_proj": 2,
}
"""Places in the one projection that the official encoder has for all three."""
NOT_THE_ENCODER = ("embeddings.mask_token", "classifier.weight", "classifier.bias")


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder under official names; unknown names are left as they are."""
    result: dict[str, Tensor] = {}
    joined: dict[str, dict[int, Tensor]] = {}
    for full_name, value in state.items():
        name = full_name.removeprefix("ijepa.")
        if name in NOT_THE_ENCODER:
            continue
        match = BLOCK.fullmatch(name)
        number, part, kind = match.groups() if match else ("", "", "")
        if part in QUERY_KEY_VALUE:
            place = joined.setdefault(f"blocks.{number}.attn.qkv.{kind}", {})
            place[QUERY_KEY_VALUE[part]] = value
        elif part in IN_BLOCK:
            result[f"blocks.{number}.{IN_BLOCK[part]}.{kind}"] = value
        else:
            result[OUTSIDE_BLOCKS.get(name, name)] = value
    for name, parts in joined.items():
        if len(parts) == len(("query", "key", "value")):
            result[name] = torch.cat([parts[i] for i in sorted(parts)])
    return result
