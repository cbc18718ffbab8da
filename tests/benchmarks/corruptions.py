"""How much faster are the corruptions than the public generator? python -m tests.benchmarks.corruptions

Both work on the same images in one process, function by function and in turn, with one thread each. What is compared is
processor time, so that a busy machine does not matter: the best of the rounds, in milliseconds an image, averaged over
severities 1, 3 and 5. The reference has the same constants and its mends (see `tests.corruptions.reference`). At 32 pixels the
last column is the share of one forward pass of a ResNet-18 with a CIFAR stem: what corrupting adds to an audit.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from sharpaudit.checkpoints import zoo
from sharpaudit.corruptions import NAMES, Table, corrupt
from tests.corruptions.images import photographs
from tests.corruptions.reference import generator

SEVERITIES = (1, 3, 5)
ROUNDS = 3


def core_milliseconds(work: Callable[[], object]) -> float:
    """Processor time of all threads of the process."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def forward_milliseconds(count: int = 16) -> float:
    """One image through a ResNet-18 with a CIFAR stem."""
    network = zoo.build("resnet18").eval()
    images = torch.zeros(count, 3, 32, 32)
    with torch.inference_mode():
        return min(core_milliseconds(lambda: network(images)) for _ in range(ROUNDS)) / count


def compare(table: Table, count: int, forward: float | None = None) -> None:
    """Prints the times of both and their ratio, for each function and in total; shares of `forward` where it is given."""
    images, indices = photographs(count, table), torch.arange(count)
    reference = generator(table)
    total = np.zeros(2)
    print(f"{table}x{table}: core-milliseconds an image: ours, reference, ratio")
    for name in NAMES:
        few = images[: count // 8 if name == "glass_blur" else count].numpy()  # it takes a second an image there
        best = np.full((len(SEVERITIES), 2), np.inf)
        for i, severity in enumerate(SEVERITIES):
            for _ in range(ROUNDS):
                ours = core_milliseconds(lambda: corrupt(images, name, severity, indices=indices))  # noqa: B023  # called at once
                theirs = core_milliseconds(lambda: [reference(image, name, severity) for image in few])  # noqa: B023  # called at once
                best[i] = np.minimum(best[i], (ours / count, theirs / len(few)))
        ours, theirs = best.mean(0)
        total += ours, theirs
        print(row(name, ours, theirs, forward), flush=True)
    print(row("total", total[0], total[1], forward and len(NAMES) * forward))


def row(name: str, ours: float, theirs: float, forward: float | None) -> str:
    """A line of the table."""
    share = f"{100 * ours / forward:8.2f}%" if forward else ""
    return f"  {name:18} {ours:9.3f} {theirs:9.3f} {theirs / ours:7.2f}{share}"


def main() -> None:
    """Compares at the three sizes that the published sets have."""
    torch.set_num_threads(1)
    np.random.seed(0)  # the reference draws from the global generator
    compare(32, 128, forward_milliseconds())
    compare(64, 64)
    compare(224, 16)


if __name__ == "__main__":
    main()
