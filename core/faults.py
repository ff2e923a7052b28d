"""What kind of fault a cause is: the axis that a diagnosis answers on and remediation acts on."""

from enum import StrEnum


class FaultClass(StrEnum):
    """Classes told apart because something else is to be done about each."""

    GPU_HARDWARE = "gpu_hardware"
    GPU_MEMORY = "gpu_memory"
    THERMAL = "thermal"
    POWER = "power"
    NVLINK = "nvlink"
    NETWORK = "network"
    HOST_HARDWARE = "host_hardware"
    DRIVER = "driver"
    STORAGE = "storage"
    DATA_LOADING = "data_loading"
    CPU_CONTENTION = "cpu_contention"
    NOISY_NEIGHBOUR = "noisy_neighbour"
    SOFTWARE = "software"
    NAN_LOSS = "nan_loss"
    CONFIGURATION = "configuration"
    CHECKPOINT = "checkpoint"
    INFERENCE_OVERLOAD = "inference_overload"
    UNKNOWN = "unknown"
