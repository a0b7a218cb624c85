"""What stored features save, and how fast they are made.

python benchmarks/features.py                   epochs of a head, stored against online, on a CPU
python benchmarks/features.py --device cuda     encoding ViT-H/14, and extraction from JPEG files

On a GPU: images per second of the encoder alone (fp32 without fused attention, bf16 by autocast,
bf16 weights as the extraction does it), and, for both ways of `data.decode`, of decoding alone with
so many workers and of the whole extraction (1080 x 1920 JPEG -> 224 x 224 -> tokens on disk), which
cannot be faster than the slower of the two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import results
import torch
from decoding import drawn, jpeg
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from experiments import fitting
from experiments.data import datasets
from experiments.data.images import read_panorama
from experiments.extraction import extract
from experiments.features.encoding import ShardsWriter, encoded
from experiments.features.places import open_store
from experiments.features.store import StoreFolder
from experiments.features.stored import build_stored, dataset_of
from experiments.models import IJepaPretraining, PlanningModule, build_planning, official_checkpoint
from experiments.models.backbone import build_backbone
from experiments.models.finetune import FrozenBackbone
from experiments.models.pooling import pooled
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    FinetuneConfig,
    PretrainConfig,
    SyntheticConfig,
)
from launcher.context import RunContext

SIZES = {
    "tiny": {"embed_dim": 64, "depth": 3, "num_heads": 2, "mlp_ratio": 2.0},
    "ViT-S": {"embed_dim": 384, "depth": 12, "num_heads": 6},
}
IMAGES = {"tiny": (48, 192), "ViT-S": (224, 224)}
BATCH = 32
FLOP_PER_IMAGE = 32 * (2 * 12 * 1280**2 * 256 + 4 * 256**2 * 1280)
"""Of a ViT-H/14 at 224 x 224: its linear layers and its attention."""
DISTINCT_FILES = 48


def epochs(name: str, num_windows: int, rounds: int, folder: Path) -> None:
    """Print the time of a head's epoch over so many windows, stored and online."""
    config = ExperimentConfig(
        data=DataConfig(
            root=str(folder / "data"),
            image_hw=IMAGES[name],
            synthetic=SyntheticConfig(num_logs=4, frames_per_log=32, camera_hw=(90, 160)),
            cache_decoded=True,
        ),
        backbone=BackboneConfig(
            name="ijepa",
            patch_px=16,
            weights=str(folder / f"{name}.pth.tar"),
            pretrain=PretrainConfig(predictor_dim=48),
            **SIZES[name],
        ),
        finetune=FinetuneConfig(policy="frozen"),
        features=FeaturesConfig(mode="stored"),
    )
    encoder = IJepaPretraining(config.backbone, image_hw=config.data.image_hw)
    fitting.save(Path(config.backbone.weights), official_checkpoint(encoder))
    context = RunContext(run_dir=folder / name, key=name, name=name, attempt="0")
    extract(config, context)
    modules = {
        "online": build_planning(config),
        "stored": build_stored(config, open_store(config, context)),
    }
    splits = datasets(config.data)
    rows = np.concatenate([splits.train, splits.val, splits.test])[:num_windows]
    taken: dict[str, list[float]] = {kind: [] for kind in modules}
    for number in range(rounds + 1):
        for kind, module in modules.items():
            windows = dataset_of(module, splits.source, rows, cache_decoded=True)
            took_s = epoch(module, DataLoader(windows, batch_size=BATCH))
            if number:  # the first fills caches
                taken[kind].append(took_s)
    online_s, stored_s = (statistics.median(taken[kind]) for kind in ("online", "stored"))
    print(f"{name:6} {len(rows)} windows: online {online_s:7.2f} s, stored {stored_s:7.3f} s,"
          f" ratio {online_s / stored_s:.1f}")  # fmt: skip


def epoch(module: PlanningModule, batches: DataLoader[dict[str, Tensor]]) -> float:
    """Seconds in which a head learns from all batches once."""
    optimizer = torch.optim.Adam(module.head.parameters(), lr=1e-4)
    module.train()
    began = time.perf_counter()
    for batch in batches:
        loss = torch.stack(list(module.head.loss(module(batch), batch).values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return time.perf_counter() - began


class Files(Dataset[dict[str, Tensor]]):
    """Front cameras of 1080 x 1920 from files, as many as wanted, in turn."""

    def __init__(self, paths: list[Path], count: int, *, scaled: bool) -> None:
        self.paths, self.count, self.scaled = paths, count, scaled

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> dict[str, Tensor]:
        path = self.paths[n % len(self.paths)]
        image = read_panorama([path], ["CAM_F0"], (224, 224), scaled=self.scaled)
        return {"image": torch.from_numpy(image), "index": torch.tensor(n)}


def huge(depth: int) -> FrozenBackbone:
    """ViT-H/14 with random weights."""
    config = BackboneConfig(name="ijepa", depth=depth)
    return FrozenBackbone(build_backbone(config, image_hw=(224, 224), bev_px=256))


def encode_only(encoder: FrozenBackbone, batch_size: int, kind: str, device: torch.device) -> float:
    """Images per second of the encoder, which is fed from the GPU's memory."""
    contexts: dict[str, list[AbstractContextManager[object]]] = {
        "fp32, plain attention": [sdpa_kernel(SDPBackend.MATH)],
        "bf16 autocast": [torch.autocast(device.type, torch.bfloat16)],
        "bf16 weights": [],
    }
    first, *_ = [*contexts[kind], nullcontext()]
    encoder.to(device, torch.bfloat16 if kind == "bf16 weights" else torch.float32)
    shape = (batch_size, 3, 224, 224)
    batch = {"image": torch.randint(0, 256, shape, dtype=torch.uint8, device=device)}
    rounds = 3 if kind.startswith("fp32") else 12
    with torch.no_grad(), first:
        for _ in range(2):
            encoder(batch)
        _wait(device)
        began = time.perf_counter()
        for _ in range(rounds):
            encoder(batch)
        _wait(device)
    return rounds * batch_size / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def loader(files: Files, arguments: argparse.Namespace) -> DataLoader[dict[str, Tensor]]:
    """Decoded images in batches."""
    return DataLoader(
        files,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        pin_memory=arguments.device == "cuda",
    )


def timed(batches: Iterator[object], batch_size: int) -> float:
    """Items per second from the second batch on: starting workers is no matter of size."""
    next(batches)
    began, count = time.perf_counter(), 0
    for _ in batches:
        count += 1
    return count * batch_size / (time.perf_counter() - began)


def extraction(arguments: argparse.Namespace, folder: Path) -> None:
    """Print rates of encoding, decoding and both."""
    device = torch.device(arguments.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    encoder = huge(arguments.depth)
    size = arguments.batch_size
    encoding = 0.0
    for kind in ("fp32, plain attention", "bf16 autocast", "bf16 weights"):
        batch_size = min(size, 64) if kind.startswith("fp32") else size
        encoding = encode_only(encoder, batch_size, kind, device)
        print(f"encode only, {kind:22} {encoding:8.1f} images/s", flush=True)
    rate = matmul_flop_per_s(device)
    share = encoding * FLOP_PER_IMAGE * arguments.depth / 32 / rate
    found: dict[str, float] = {"encoder alone": encoding}
    print(f"matmul 8192 x 8192 x 8192 bf16: {rate / 1e12:.0f} TFLOP/s; the encoder alone reaches"
          f" {share:.0%} of it")  # fmt: skip
    for pool_hw in ((1, 1), None):
        ready = FrozenBackbone(pooled(encoder.inner, pool_hw)).to(device, torch.bfloat16)
        with tempfile.TemporaryDirectory(dir=folder) as store:
            whole = _whole(ready, Decoded(arguments.images, size), Path(store), device)
        share = whole * FLOP_PER_IMAGE * arguments.depth / 32 / rate
        tokens = "1 token" if pool_hw else "all tokens"
        found[f"extraction of images decoded before, {tokens}"] = whole
        print(f"extraction, {tokens:10}, decoded before {whole:8.1f} images/s, {share:.0%} of the"
              " matmul rate", flush=True)  # fmt: skip
    paths = drawings(folder) if arguments.decode else []
    for decode in arguments.decode:
        files = Files(paths, arguments.images, scaled=decode == "scaled")
        decoding = timed(iter(loader(files, arguments)), size)
        print(f"decode only, {arguments.workers} workers, {decode:6} {decoding:8.1f} images/s")
        for pool_hw in ((1, 1), None):
            ready = FrozenBackbone(pooled(encoder.inner, pool_hw)).to(device, torch.bfloat16)
            with tempfile.TemporaryDirectory(dir=folder) as store:
                whole = _whole(ready, loader(files, arguments), Path(store), device)
            tokens = "1 token" if pool_hw else "all tokens"
            found[f"extraction from JPEG, data.decode={decode}, {tokens}"] = whole
            print(f"extraction, {tokens:10}, {decode:6} {whole:8.1f} images/s,"
                  f" {whole / decoding:.2f} of decoding,"
                  f" {whole / min(decoding, encoding):.2f} of the slower", flush=True)  # fmt: skip
    per_image = FLOP_PER_IMAGE * arguments.depth / 32
    rates = {"matmul_flop_per_s": rate, "flop_per_image": per_image, "images_per_s": found}
    results.save(arguments.out, "extraction", rates)


def drawings(folder: Path) -> list[Path]:
    """JPEG files of 1080 x 1920."""
    paths = [folder / f"{number}.jpg" for number in range(DISTINCT_FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(drawn(number, 3.0), 85))
    return paths


class Decoded:
    """Batches of images that were decoded before, in pinned memory, as a loader gives them."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.dataset, self.batch_size = range(count), batch_size
        shape = (4, batch_size, 3, 224, 224)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        self.images = images.pin_memory() if torch.cuda.is_available() else images

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for number, first in enumerate(range(0, len(self.dataset), self.batch_size)):
            index = torch.arange(first, min(first + self.batch_size, len(self.dataset)))
            yield {"image": self.images[number % 4][: len(index)], "index": index}


def matmul_flop_per_s(device: torch.device) -> float:
    """The most that the device reaches in a matrix product of bfloat16, in 30 of them."""
    edge = 8192 if device.type == "cuda" else 512
    factors = torch.randn(2, edge, edge, device=device, dtype=torch.bfloat16)
    for rounds in (3, 30):
        _wait(device)
        began = time.perf_counter()
        for _ in range(rounds):
            factors[0] @ factors[1]
        _wait(device)
    return rounds * 2 * edge**3 / (time.perf_counter() - began)


def _whole(
    encoder: FrozenBackbone,
    batches: DataLoader[dict[str, Tensor]] | Decoded,
    folder: Path,
    device: torch.device,
) -> float:
    count, size = len(batches.dataset), batches.batch_size or 1  # type: ignore[arg-type]
    tokens = np.array([f"{number:016x}" for number in range(count)], "S16")
    spec = encoder.spec
    facts = {"tokens": {"dtype": "float16"}, "windows": {"count": count}, "n": spec.num_tokens}
    store = StoreFolder.begin(folder, facts, tokens, (spec.num_tokens, spec.token_dim))
    began = 0.0
    with ShardsWriter(store, range(store.layout.num_shards)) as writer:
        for rows in encoded(encoder, batches, device=device, dtype=torch.float16):
            began = began or time.perf_counter()
            writer.take(rows)
    return (count - size) / (time.perf_counter() - began)


def main() -> None:
    """Measure what the device is good for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--windows", type=int, default=64, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=30_000, help="to extract from")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--decode", nargs="*", default=["full", "scaled"], help="ways to decode")
    parser.add_argument("--depth", type=int, default=32, help="blocks of the large encoder")
    parser.add_argument("--extraction", action="store_true", help="also on a CPU")
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    parser.add_argument("--folder", default=None, help="for files and stores; the system's own")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        results.require_gpus(1, "see --device cpu --extraction")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.device == "cuda" or arguments.extraction:
            extraction(arguments, Path(name))
        else:
            for size in SIZES:
                epochs(size, arguments.windows, arguments.rounds, Path(name))


if __name__ == "__main__":
    main()
