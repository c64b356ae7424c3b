"""`vibee infer` spelled plainly, parsed without typer (whose import costs 40 ms).

Anything else (help, a mistake, an unusual spelling) gives None: typer then parses the same
words and says what is wrong.
"""

from __future__ import annotations

from .options import INFER_FLAGS, INFER_PRECISIONS, INFER_TABLE, InferOptions, in_range


def parse_infer(words: list[str]) -> InferOptions | None:
    """The options in `words`, or None where typer should look at them."""
    options = InferOptions()
    given_prompt = False
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if word == "--stats":
            options.stats = True
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name not in INFER_FLAGS:
            return None
        if not equals:
            if i == len(words):
                return None
            value = words[i]
            i += 1
        attribute = INFER_FLAGS[name]
        if attribute in ("prompt", "model"):
            # typer reads a value that begins with a dash as an option; so does this parser.
            if not equals and value.startswith("-") and value != "-":
                return None
            given_prompt = given_prompt or attribute == "prompt"
            setattr(options, attribute, value)
            continue
        if attribute == "precision":
            if value not in INFER_PRECISIONS:
                return None
            options.precision = value
            continue
        _, kind, low, high = INFER_TABLE[attribute]
        try:
            number = kind(value)
        except ValueError:
            return None
        if not in_range(number, low, high):
            return None
        setattr(options, attribute, number)
    return options if given_prompt else None
