"""What PyTorch scripts ask of `cuda` before they choose a device."""


def is_available() -> bool:
    """Whether tensors can be moved to "cuda".

    Example
    >>> is_available()
    False
    """
    return False


def device_count() -> int:
    """How many GPUs can be used.

    Example
    >>> device_count()
    0
    """
    return 0
