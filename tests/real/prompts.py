"""Thirty conversations of different kinds and lengths for a real chat model, each ending with a user turn."""

from collections.abc import Mapping, Sequence

Turns = Sequence[tuple[str, str]]

_STORY = (
    "The lighthouse keeper had counted ships for thirty years. He wrote each one into a green book: the hour, the "
    "flag, the weather, and whether anyone had waved. On the last day of October a boat without a flag came in "
    "under the rocks, and the keeper, who had never left his lamp before midnight, went down to the water. "
)
_TABLE = "\n".join(f"row {number}: apples {3 * number}, pears {number * number % 17}" for number in range(16))


def user(text: str) -> Turns:
    return [("user", text)]


CONVERSATIONS: Mapping[str, Turns] = {
    "fact": user("What is the capital of France?"),
    "word": user("Hello"),
    "letter": user("a"),
    "sum": user("What is 17 + 25?"),
    "word problem": user("Tom has 3 boxes with 12 pencils each. He gives 9 pencils away. How many are left?"),
    "list": user("List five fruits, separated by commas."),
    "numbered": user("Give me three numbered tips for sleeping better."),
    "poem": user("Write two lines about rain."),
    "code": user("Write a Python function that returns the largest number in a list."),
    "bug": user("What is wrong here?\n\n```python\ndef add(a, b):\n    return a - b\n```"),
    "json": user('Answer in JSON with the keys "name" and "age": Anna is 31 years old.'),
    "translation": user("Translate into French: The cat sleeps on the table."),
    "German": user("Wie heißt die Hauptstadt von Österreich?"),
    "Chinese": user("你叫什么名字"),
    "emoji": user("What does 🌧️🐈 mean?"),
    "yes or no": user("Is the moon larger than the earth? Answer yes or no."),
    "choice": user("Which one is a metal?\nA) oak\nB) iron\nC) wool\nAnswer with a letter."),
    "definition": user("Define photosynthesis in one sentence."),
    "rewriting": user("Make this polite: give me the salt"),
    "spaces": user("  one   two\t three \n\n four  "),
    "capitals": user("WHY IS THE SKY BLUE?"),
    "nonsense": user("blorp zint qua, vaff?"),
    "symbols": user("a < b && c > d || !e  <b>bold</b> {x: [1, 2]} \\frac{1}{2} $5 50%"),
    "planning": user("Plan how to clean a kitchen in four steps."),
    "system": [("system", "You answer in one short sentence."), ("user", "Why do leaves fall in autumn?")],
    "persona": [("system", "You are a pirate."), ("user", "How is the weather today?")],
    "two turns": [
        ("user", "My name is Ada."),
        ("assistant", "Nice to meet you, Ada."),
        ("user", "What is my name?"),
    ],
    "four turns": [
        ("user", "Let us count. One."),
        ("assistant", "Two."),
        ("user", "Three."),
        ("assistant", "Four."),
        ("user", "Five."),
    ],
    "table": user(f"{_TABLE}\n\nWhich row has the most pears?"),
    "story": user(_STORY * 3 + "Summarise this in a sentence."),
}
"""Name -> turns. From 30 to about 300 tokens under the template of SmolLM2."""
