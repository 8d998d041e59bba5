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
    from lvlmscope import interventions

    names = sorted(each.lower() for each in interventions.__all__)
    return [name for name in names if name.startswith(incomplete.lower())]
