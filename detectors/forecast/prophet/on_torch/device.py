"""Which torch device a fit runs on, if any; torch is imported only where one is asked for."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PROCESSOR, AUTO, CHECK = "cpu", "auto", "torch"


def device_of(name: str) -> "torch.device | None":
    """Return the torch device that ``name`` means, None for the compiled path of the processor.

    name: cpu; cuda or cuda:N; auto: a GPU if torch finds one, else cpu; torch: torch on the
          processor, to check it where there is no GPU
    ValueError for another name, RuntimeError where torch or the GPU is missing.
    """
    if name == PROCESSOR or (name == AUTO and find_spec("torch") is None):
        return None
    kind, _, index = name.partition(":")
    if name not in (AUTO, CHECK) and (kind != "cuda" or not (index or "0").isdecimal()):
        raise ValueError(f"device is {name!r}: give cpu, auto, cuda or one GPU, such as cuda:1")
    if find_spec("torch") is None:
        raise RuntimeError(
            f"fitting on device {name!r} needs torch, which is not installed: install "
            f"gpumedic[controller], or give device cpu"
        )
    import torch  # noqa: PLC0415  # heavy

    if name == CHECK:
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == AUTO:
        return torch.device("cuda") if found else None
    if int(index or 0) >= found:
        built = (
            f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        )
        raise RuntimeError(
            f"fitting on device {name!r}: torch {torch.__version__}, {built}, finds {found} GPUs; "
            f"install a driver and a build of torch that belong together, name a GPU it finds, or "
            f"give device auto or cpu"
        )
    return torch.device(name)


def torch_device(name: str) -> "torch.device":
    """Return the torch device that ``name`` means; ValueError where that is the compiled path."""
    device = device_of(name)
    if device is None:
        raise ValueError(f"device {name!r} means the compiled path here: give cuda or torch")
    return device


def resolved(name: str) -> str:
    """Return the name with auto spelt out."""
    return name if name != AUTO else PROCESSOR if device_of(name) is None else "cuda"
