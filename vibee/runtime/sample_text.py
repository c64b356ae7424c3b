"""The built-in text: small stories made by a grammar of our own, the same on every machine.

Every story keeps its names, its place and its thing, its quotes are closed, its counting is
right: a model is seen to learn first words, then sentences, then who is who.
"""

from __future__ import annotations

_HEROES = (
    ("Anna", "girl", "she", "her"), ("Ben", "boy", "he", "his"), ("Clara", "baker", "she", "her"),
    ("Daniel", "miller", "he", "his"), ("Ella", "sailor", "she", "her"), ("Felix", "king", "he", "his"),
    ("Greta", "queen", "she", "her"), ("Hugo", "farmer", "he", "his"),
)  # fmt: skip
_FRIENDS = ("fox", "owl", "bear", "cat", "hen", "frog", "goat", "mouse")
_PLACES = (
    ("forest", "under the old oak"), ("village", "behind the mill"), ("castle", "in the tall tower"),
    ("garden", "near the red gate"), ("island", "by the white cliff"), ("valley", "beside the river"),
)  # fmt: skip
_THINGS = ("silver key", "wooden flute", "blue lamp", "golden ring", "little boat", "paper star")
_WEATHER = ("The sun was warm", "The rain fell softly", "The wind was cold", "The snow lay deep")
_MOODS = ("happy", "sad", "tired", "hungry", "proud", "afraid")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
_FOODS = ("apple", "cake", "berry", "pear", "plum", "nut")
_PLURALS = {"berry": "berries"}
_GREETINGS = ("Good morning", "Hello", "Good evening")

_SEED = 0x5EED_0F_7A1E5


class _Dice:
    """Choices by a linear congruential generator: `random` costs start time and may change."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        # Knuth's MMIX constants; the upper bits are the good ones.
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self._state >> 33) % n


def _plural(food: str, count: int) -> str:
    return food if count == 1 else _PLURALS.get(food, food + "s")


def _story(dice: _Dice) -> str:
    """One story: a hero in a place meets a friend, looks for a thing, shares food, goes home."""
    name, trade, they, their = _HEROES[dice.below(len(_HEROES))]
    place, spot = _PLACES[dice.below(len(_PLACES))]
    where = f"{'on' if place == 'island' else 'in'} the {place}"
    friend = _FRIENDS[dice.below(len(_FRIENDS))]
    thing = _THINGS[dice.below(len(_THINGS))]
    food = _FOODS[dice.below(len(_FOODS))]
    mood, other = _MOODS[dice.below(len(_MOODS))], _MOODS[dice.below(len(_MOODS))]
    greeting = _GREETINGS[dice.below(len(_GREETINGS))]
    They = they.capitalize()

    beginnings = (
        f"Once upon a time a {trade} named {name} lived {where}.",
        f"There was once a {trade} {where}, and {their} name was {name}.",
        f"Long ago, {where}, lived a {trade} who was called {name}.",
    )
    first = [beginnings[dice.below(3)], f"{_WEATHER[dice.below(len(_WEATHER))]}, and {name} was {mood}."]
    if dice.below(2):
        first.append(f"Every day {they} walked through the {place} with {their} {thing}.")
        searching = f"One day the {thing} was gone."
    else:
        searching = f"One day {they} heard of a {thing} that lay somewhere {where}."

    talk = [
        f"{searching} {name} met {'an' if friend == 'owl' else 'a'} {friend}.",
        f'"{greeting}, {friend}," said {name}. "Have you seen the {thing}?"',
    ]
    if dice.below(2):
        talk.append(f'"Yes," said the {friend}. "Look {spot}."')
        found = f"So {name} looked {spot}, and there was the {thing}."
    else:
        talk.append(f'"No," said the {friend}, "but I will help you."')
        found = f"So {name} and the {friend} looked for it together, and they found the {thing} {spot}."

    count = dice.below(5) + 1
    more = dice.below(min(3, 7 - count)) + 1
    last = [
        f'{found} "Thank you, {friend}," said {name}.',
        f"{They} had {_NUMBERS[count - 1]} {_plural(food, count)}, and the {friend} brought "
        f"{_NUMBERS[more - 1]} more. Now there were {_NUMBERS[count + more - 1]} {_plural(food, count + more)}.",
    ]
    endings = (
        f"{name} went home with the {thing} and was not {mood} any more." if mood in ("sad", "afraid", "hungry") else
        f"{name} went home with the {thing} and was {mood} all day long.",
        f'"Are you {other}?" asked the {friend}. "No," said {name}, "not when you are with me."',
        f"And from that day on {name} and the {friend} were friends.",
    )  # fmt: skip
    last.append(endings[dice.below(3)])
    return " ".join(first) + "\n" + "\n".join(talk) + "\n" + " ".join(last) + "\n\n"


def sample_text(size: int = 300_000) -> bytes:
    """About `size` bytes of stories, whole ones, always the same."""
    dice = _Dice(_SEED)
    stories: list[str] = []
    length = 0
    while length < size:
        stories.append(_story(dice))
        length += len(stories[-1])
    return "".join(stories).encode()
