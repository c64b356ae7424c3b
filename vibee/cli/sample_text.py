"""The built-in text: small stories from a grammar of our own, the same on every machine.

Regular enough that a model is seen to learn it within half a minute: first words, then
sentences, then that a story's animal and place stay the same and the counting is right.
"""

from __future__ import annotations

_ANIMALS = ("fox", "owl", "hare", "mole", "crow", "toad", "otter", "heron")
_NAMES = ("Ada", "Bo", "Cleo", "Dora", "Emil", "Finn", "Gus", "Hanna")
_PLACES = ("river", "old mill", "orchard", "quiet pond", "hill", "harbour", "garden wall", "long road")
_THINGS = ("apple", "lantern", "button", "pebble", "feather", "key", "shell", "letter")
_WEATHER = ("The rain had stopped.", "It was a bright morning.", "Snow lay on the roofs.", "The wind was warm.")
_MOODS = ("happy", "tired", "proud", "curious")
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven")


class _Dice:
    """A 64-bit linear congruential generator (Knuth's constants), to choose among phrases."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def __call__(self, n: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (self.state >> 33) % n

    def pick(self, words: tuple[str, ...]) -> str:
        return words[self(len(words))]


def _story(dice: _Dice) -> str:
    name, animal, place = dice.pick(_NAMES), dice.pick(_ANIMALS), dice.pick(_PLACES)
    thing, mood = dice.pick(_THINGS), dice.pick(_MOODS)
    have = dice(5) + 1
    lines = [
        f"{name} the {animal} lived by the {place}.",
        dice.pick(_WEATHER),
        f"{name} found {_COUNTS[have - 1]} {thing}{'s' if have > 1 else ''} by the {place}.",
    ]
    friend = dice.pick(tuple(n for n in _NAMES if n != name))
    other = dice.pick(_ANIMALS)
    turn = dice(3)
    if turn == 0:
        lines += [
            f'"Look, {friend}," said the {animal}, "I have {_COUNTS[have - 1]}!"',
            f"{friend} the {other} brought one more, and then there were {_COUNTS[have]}.",
        ]
    elif turn == 1:
        lines += [
            f'"Is this your {thing}?" asked {friend} the {other}.',
            f'"No," said {name}, "but I will keep it safe."',
        ]
    else:
        lines += [
            f"{friend} the {other} came along and sat down.",
            f"They looked at the {place} until it was dark.",
        ]
    lines.append(f"{name} was {mood}, and went home.")
    return "\n".join(lines) + "\n\n"


def sample_text(size: int = 150_000) -> bytes:
    """About `size` bytes of stories."""
    dice = _Dice(20240229)
    stories: list[str] = []
    length = 0
    while length < size:
        stories.append(_story(dice))
        length += len(stories[-1])
    return "".join(stories).encode()
