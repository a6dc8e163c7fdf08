"""What a result depends on besides the data: versions, the processor, the kernels in use, the threads."""

import platform
from typing import Any

__all__ = ["machine_facts"]


def machine_facts() -> dict[str, Any]:
    """Names and values, as `unrolled info` shows them."""
    import numpy
    import pandas
    import torch

    from unrolled import __version__
    from unrolled.kernels import native
    from unrolled.kernels.dispatch import TABLE

    return {
        "unrolled": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pandas": pandas.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor features": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "recurrent kernels": ", ".join(row.name for row in TABLE if row.built),
        "C++ kernels": native.instruction_set(),
        "threads": native.threads(),
        "torch threads": torch.get_num_threads(),
    }
