"""Backbones, heads, fine-tuning policies and the two LightningModules that train them."""

from experiments.models.backbone import Backbone, BackboneSpec, build_backbone
from experiments.models.finetune import FrozenBackbone, apply_policy, check
from experiments.models.head import MlpHead, build_head
from experiments.models.ijepa import IJepaBackbone
from experiments.models.ijepa_pretraining import IJepaPretraining, official_checkpoint
from experiments.models.planning import PlanningModule, build_planning
from experiments.models.transfuser import TransFuser

__all__ = [
    "Backbone",
    "BackboneSpec",
    "FrozenBackbone",
    "IJepaBackbone",
    "IJepaPretraining",
    "MlpHead",
    "PlanningModule",
    "TransFuser",
    "apply_policy",
    "build_backbone",
    "build_head",
    "build_planning",
    "check",
    "official_checkpoint",
]
