"""What pydantic finds wrong with a file, a body, an option or a variable, in plain words."""

import re

from pydantic import ValidationError

_MOST = 5  # that are listed: there may be one in each byte
_SHOWN = 500  # characters of one, which may repeat what was sent
_SUBJECT = re.compile(r"^[A-Z]\w* should ")


def in_plain_words(message: str) -> str:
    """A message of pydantic's without its "Input should be" and how it tried to read what was given."""
    text = _SUBJECT.sub("must ", message.removeprefix("Value error, ")).partition(", unable to ")[0]
    return text.replace("a valid boolean", "true or false").replace("a valid integer", "a whole number")


def described(error: ValidationError) -> str:
    """The first five faults as ``place: what is wrong``, and how many more there are."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    texts = []
    for fault in faults[:_MOST]:
        place = ".".join(map(str, fault["loc"]))[:_SHOWN]
        said = in_plain_words(fault["msg"])[:_SHOWN]
        texts.append(f"{place}: {said}" if place else said)
    if len(faults) > _MOST:
        texts.append(f"and {len(faults) - _MOST} more")
    return "; ".join(texts)
