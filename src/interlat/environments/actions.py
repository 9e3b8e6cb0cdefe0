"""Where the action is in a reply: one rule for every environment of many actions."""

from interlat.reasoning import final_part

MARK = "Action:"


def action_in(reply: str) -> str:
    """The action in a reply: what follows the last "Action:", else the first line that is not empty.

    Thoughts hold no action: a reply that ends inside one gives an empty action.
    """
    said = final_part(reply) or ""
    marker = said.rfind(MARK)
    text = said[marker + len(MARK) :] if marker >= 0 else said
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
