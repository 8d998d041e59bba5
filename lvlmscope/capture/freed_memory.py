"""Memory of freed blocks that the C allocator keeps, which counts as resident until it is given back."""

import ctypes
import sys

__all__ = ["give_back_freed"]


def give_back_freed() -> None:
    """Give what glibc keeps of freed blocks back to the system; other allocators do so in their own time.

    Blocks of less than 32 MB, such as a layer's rows of a few steps, otherwise stay resident beside those of the next
    window, whose sizes differ a little.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # musl has none
        library.malloc_trim(0)
