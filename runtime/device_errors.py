"""What to do about an error of CUDA."""

from .errors import DeviceError

NO_MEMORY = "free memory on the GPU, or use an engine whose largest batch is smaller"
LOST = "the GPU is lost to this process: start it again (the kernel's log, `dmesg`, may say why)"

# After these every call in the process's context fails.
_LOST = {
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_CONTAINED",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_TENSOR_MEMORY_LEAK",
    "CUDA_ERROR_UNKNOWN",
}


def remedy(name: str) -> str | None:
    """What to do about an error that the driver calls `name`, e.g. "CUDA_ERROR_OUT_OF_MEMORY"; None: no advice."""
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        return NO_MEMORY
    return LOST if name in _LOST else None


def no_gpu(reason: str) -> DeviceError:
    """The error where an engine finds no GPU."""
    return DeviceError(
        f"no usable NVIDIA GPU ({reason}); an engine runs on a GPU with its driver only: use the .onnx file here"
    )
