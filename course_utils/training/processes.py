"""Several processes that share each batch.

On a CPU, processes of one thread each waste less time waiting for one another than the threads of
one process; on several GPUs each process drives one.
"""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    """A port on this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def join(rank: int, count: int, port: int) -> None:
    """Make this process number `rank` of `count`, before accelerate is used.

    Args:
        rank: from 0; process 0 logs and saves.
        count: how many processes there are.
        port: where process 0 listens, on this machine.
    """
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))


def shares_cpu() -> bool:
    """Whether this is one of several processes without a GPU; accelerate must be told."""
    import torch

    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
