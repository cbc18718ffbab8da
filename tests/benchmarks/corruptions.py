"""How much faster are the corruptions than the public generator? python -m tests.benchmarks.corruptions

Both work on the same images in one process, function by function and in turn, with one thread each. What is compared is
processor time, so that a busy machine does not matter: the best of the rounds, in milliseconds an image, averaged over
severities 1, 3 and 5. The reference has the same constants and its mends (see `tests.corruptions.reference`).
"""

import time
from collections.abc import Callable

import numpy as np
import torch

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


def compare(table: Table, count: int) -> None:
    """Prints the times of both and their ratio, for each function and in total."""
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
        print(f"  {name:18} {ours:9.3f} {theirs:9.3f} {theirs / ours:7.1f}", flush=True)
    print(f"  {'total':18} {total[0]:9.3f} {total[1]:9.3f} {total[1] / total[0]:7.1f}")


def main() -> None:
    """Compares at both sizes."""
    torch.set_num_threads(1)
    np.random.seed(0)  # the reference draws from the global generator
    compare(32, 128)
    compare(224, 16)


if __name__ == "__main__":
    main()
