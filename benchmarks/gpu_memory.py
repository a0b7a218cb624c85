"""Memory of a GPU at several micro-batches, against what two of them predict.

    python benchmarks/gpu_memory.py measure > seen.jsonl              # on a machine with a GPU
    torchrun --nproc-per-node 2 benchmarks/gpu_memory.py one 4 >> seen.jsonl
    python benchmarks/gpu_memory.py compare seen.jsonl                # anywhere

`measure` and `one` need torch alone. Each line is one life: micro-batch, ranks, what torch
allocated and reserved at most, and what the driver says that the process held in all.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

MICRO_BATCHES = (4, 8, 16, 32, 64)
TOKENS, WIDTH, LAYERS = 512, 1024, 12
GB = 2**30
Line = dict[str, Any]


def measure() -> None:
    """Train some steps at each micro-batch, in a process of its own each."""
    import subprocess

    for micro in MICRO_BATCHES:
        subprocess.run([sys.executable, __file__, "one", str(micro)], check=True)


def one(micro: int) -> None:
    """Print what one micro-batch takes."""
    import torch
    import torch.distributed as dist
    from torch import nn

    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(rank)
    layer = nn.TransformerEncoderLayer(WIDTH, 16, 4 * WIDTH, batch_first=True, norm_first=True)
    model: Any = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).cuda()
    if ranks > 1:
        dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
        model = nn.parallel.DistributedDataParallel(model, device_ids=[rank])
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(5):
        batch = torch.randn(micro, TOKENS, WIDTH, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    free, total = torch.cuda.mem_get_info()
    line = {
        "micro": micro,
        "ranks": ranks,
        "allocated_gb": torch.cuda.max_memory_allocated() / GB,
        "reserved_gb": torch.cuda.max_memory_reserved() / GB,
        "held_gb": (total - free) / GB,
        "now_reserved_gb": torch.cuda.memory_reserved() / GB,
        "card_gb": total / GB,
        "weights_gb": weights / GB,
    }
    if rank == 0:
        print(json.dumps(line), flush=True)
    if ranks > 1:
        dist.destroy_process_group()


def compare(path: Path) -> None:
    """Predict each line from others, and say how far off that is."""
    lines: list[Line] = [json.loads(text) for text in path.read_text().splitlines()]
    alone = [line for line in lines if line["ranks"] == 1]
    for known in ([alone[2]], [alone[0], alone[2]]):
        print(f"from micro-batches of {', '.join(str(line['micro']) for line in known)}")
        for line in lines:
            print(f"  {_error(known, line)}")


def _error(known: list[Line], line: Line) -> str:
    from launcher.estimates.gpu import fit_gpu

    model = fit_gpu([_as_measure(one) for one in known])
    assert model is not None
    predicted = model.peak_gb(line["micro"], line["ranks"])
    # What torch reserved at most, and what the process holds besides.
    truth = line["reserved_gb"] + line["held_gb"] - line["now_reserved_gb"]
    return (
        f"{line['ranks']} ranks, {line['micro']:3d} samples: predicted {predicted:6.2f} GB,"
        f" measured {truth:6.2f} GB, {predicted / truth - 1:+.1%}"
    )


def _as_measure(line: Line) -> Any:
    from launcher.measures import Measure
    from launcher.records import PhaseUse, RankUse

    use = PhaseUse(
        phase="train",
        seconds=1,
        looks=1,
        gpu_gb=line["allocated_gb"],
        gpu_reserved_gb=line["reserved_gb"],
    )
    rank = RankUse(
        attempt="001-000",
        key="k",
        rank=0,
        local_rank=0,
        host="here",
        world_size=line["ranks"],
        num_nodes=1,
        ranks_per_node=line["ranks"],
        cpus_per_rank=1,
        phases=[use],
        micro_batch_size=line["micro"],
        gpu_mem_gb=line["card_gb"],
        weights_gb=line["weights_gb"],
        gradients_gb=line["weights_gb"],
        optimizer_gb=2 * line["weights_gb"],
    )
    return Measure([rank], Path("here"), "001-000")


if __name__ == "__main__":
    command = sys.argv[1]
    if command == "measure":
        measure()
    elif command == "one":
        one(int(sys.argv[2]))
    else:
        compare(Path(sys.argv[2]))
