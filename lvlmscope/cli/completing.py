"""What the shell offers when Tab is pressed; `lvlmscope --install-completion` switches it on."""

__all__ = ["complete_remedy"]


def complete_remedy(incomplete: str) -> list[str]:
    """Names of remedies.

    Args:
        incomplete: What has been typed of the name.

    Returns:
        Names in lower case.

    >>> complete_remedy("dl")
    ['dleaf']
    """
    from lvlmscope.interventions.registry import remedy_names

    names = sorted(each.lower() for each in remedy_names())
    return [name for name in names if name.startswith(incomplete.lower())]
