"""Spans of an answer character by character: nothing of the library."""


def characters(text: str, opening: str, closing: str, opened: bool) -> list[str]:
    """thinking, answer or marker for each character, and last for what would come after the text."""
    found: list[str] = []
    state = "thinking" if opened else "answer"
    while len(found) < len(text):
        wanted = closing if state == "thinking" else opening
        if text.startswith(wanted, len(found)):
            found += ["marker"] * len(wanted)
            state = "answer" if state == "thinking" else "thinking"
        else:
            found.append(state)
    return [*found, state]


def tokens(pieces: list[str], opening: str, closing: str, opened: bool) -> list[str]:
    """A token with a marker's character is a marker; another is what its first character is."""
    told = characters("".join(pieces), opening, closing, opened)
    found, place = [], 0
    for piece in pieces:
        own = told[place : place + len(piece)]
        found.append("marker" if "marker" in own else told[place] if told[place] != "marker" else "empty")
        place += len(piece)
    return found
