"""Progress bars of other libraries, switched off: the commands draw their own."""

__all__ = ["quieten"]


def quieten() -> None:
    """Switches off the progress bars of transformers, which is imported here: only by commands that use a model."""
    from transformers.utils import logging

    logging.disable_progress_bar()
