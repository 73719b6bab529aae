"""Templates of worked problems by family; training and test use different families.

A question and its steps are format strings. ``{a}`` to ``{d}`` are numbers from 3 to 40, ``{k}``
and ``{m}`` from 2 to 6. ``[a + b]`` becomes ``12 + 5 = 17``; ``r1`` is the result of the first
step's equation. The last line, ``Answer: N``, is the same for all.
"""

from dataclasses import dataclass

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jun")
THINGS = ("apples", "pencils", "coins", "books", "stickers", "marbles", "cards", "shells")


@dataclass(frozen=True)
class Template:
    """One problem with holes.

    Args:
        family: Its subject; no family is in both training and test.
        question: Text with ``{name}``, ``{thing}`` and numbers.
        steps: One equation in each.
    """

    family: str
    question: str
    steps: tuple[str, ...]


TRAIN = (
    Template("sums", "What is {a} + {b} - {c}?", ("[a + b].", "[r1 - c].")),
    Template("sums", "What is {a} - {b} + {c} + {d}?", ("[a - b].", "[r1 + c].", "[r2 + d].")),
    Template("sums", "What is {k} * {m} + {a}?", ("[k * m].", "[r1 + a].")),
    Template(
        "things",
        "{name} has {a} {thing}, gets {b} more and gives {c} away. How many {thing} are left?",
        ("{name} then has [a + b] {thing}.", "After giving some away, [r1 - c] are left."),
    ),
    Template(
        "things",
        "{name} has {k} boxes with {a} {thing} each and loses {b} {thing}. A friend brings {c} "
        "more. How many {thing} does {name} have now?",
        (
            "The boxes hold [k * a] {thing}.",
            "Then [r1 - b] are left.",
            "With the friend's [r2 + c].",
        ),
    ),
    Template(
        "shop",
        "{name} buys {k} pens at {m} dollars each and a bag for {a} dollars, and pays with a "
        "voucher of {b} dollars and the rest in cash. How much cash is that?",
        ("The pens cost [k * m].", "Together it is [r1 + a].", "The cash is [r2 - b]."),
    ),
    Template(
        "shop",
        "A coat costs {a} dollars and a hat {b} dollars. {name} takes {c} dollars off with a "
        "coupon. What does {name} pay?",
        ("Both cost [a + b] dollars.", "With the coupon it is [r1 - c] dollars."),
    ),
    Template(
        "trip",
        "A bus starts with {a} people. At the first stop {b} get on and {c} get off, at the second "
        "{d} get on. How many people are in the bus?",
        ("After some get on there are [a + b].", "Others leave: [r1 - c].", "At last [r2 + d]."),
    ),
    Template(
        "trip",
        "{name} walks {a} miles a day for {k} days, and {b} miles on the day after. How many miles "
        "is that in all?",
        ("In the first days that is [a * k] miles.", "In all it is [r1 + b] miles."),
    ),
    Template(
        "farm",
        "A farm has {a} hens and {b} ducks. {c} birds are sold, and each bird left lays {k} eggs. "
        "How many eggs are there?",
        ("There are [a + b] birds.", "After the sale [r1 - c] remain.", "They lay [r2 * k] eggs."),
    ),
    Template(
        "farm",
        "{name} plants {k} rows of {m} trees, then {a} trees more by the fence. {b} of them dry "
        "up. How many trees live?",
        ("The rows hold [k * m] trees.", "With the fence [r1 + a].", "Of these [r2 - b] live."),
    ),
)

TEST = (
    Template(
        "kitchen",
        "A cook has {a} eggs and uses {b} of them for cakes. Then {c} eggs are delivered. How many "
        "eggs does the cook have?",
        ("The cakes leave [a - b] eggs.", "After the delivery it is [r1 + c] eggs."),
    ),
    Template(
        "kitchen",
        "{name} bakes {k} trays of {m} rolls, and {a} rolls at night. Guests eat {b}. How many "
        "rolls are still there?",
        ("On the trays are [k * m] rolls.", "With the night's [r1 + a].", "Guests leave [r2 - b]."),
    ),
    Template(
        "library",
        "A library lends {a} novels on Monday, {b} on Tuesday and {c} on Friday. {d} come back. "
        "How many are still out?",
        ("Until Tuesday [a + b] go out.", "Until Friday [r1 + c].", "Still out are [r2 - d]."),
    ),
    Template(
        "library",
        "Each of {k} shelves holds {a} books, and {b} books lie on a table. How many books is "
        "that?",
        ("The shelves hold [k * a] books.", "Including the table: [r1 + b] books."),
    ),
    Template(
        "game",
        "{name} starts a game with {a} points, loses {b}, wins {c}, and then the score is "
        "multiplied by {k}. What is the score?",
        ("After the loss: [a - b] points.", "After the win: [r1 + c].", "Multiplied: [r2 * k]."),
    ),
    Template(
        "game",
        "Start with {a}. Add {b}, take {c} away, add {d}. What is the result?",
        ("First [a + b].", "Second [r1 - c].", "Third [r2 + d]."),
    ),
)
