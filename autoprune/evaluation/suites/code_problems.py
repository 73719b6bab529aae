"""Small programming problems of our own: a signature and a docstring, then hidden calls.

Problems are of the kind of HumanEval (Chen and others, arXiv 2107.03374) but share none of its
text. Each is an ordinary function here: its signature and docstring are the prompt, its body is the
solution that gives the expected values. Its test calls are never shown, and cover cases that
the docstring's example does not.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from autoprune.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class CodeProblem:
    """One problem.

    Args:
        name: Name of the function.
        solve: The solution.
        calls: Arguments of each hidden call, plain JSON values.
    """

    name: str
    solve: Callable[..., Any]
    calls: tuple[tuple[Any, ...], ...]

    @property
    def prompt(self) -> str:
        """Signature and docstring, as given to a model."""
        return self._parts[0]

    @property
    def solution(self) -> str:
        """The body that follows the prompt."""
        return self._parts[1]

    @cached_property
    def expected(self) -> list[Any]:
        """The result of each call, passed through JSON as a completion's results are."""
        # A solution may change its arguments.
        fresh = (json.loads(json.dumps(call)) for call in self.calls)
        found: list[Any] = json.loads(json.dumps([self.solve(*call) for call in fresh]))
        return found

    @cached_property
    def _parts(self) -> tuple[str, str]:
        source = textwrap.dedent(inspect.getsource(self.solve))
        function = ast.parse(source).body[0]
        assert isinstance(function, ast.FunctionDef)
        lines = source.splitlines(keepends=True)
        end = function.body[0].end_lineno
        return "".join(lines[function.lineno - 1 : end]), "".join(lines[end:])


PROBLEMS: Registry[CodeProblem] = Registry("programming problem", "autoprune.code_problems")


def problem(*calls: tuple[Any, ...]) -> Callable[[Function], Function]:
    """Register a function as a problem with these hidden calls."""

    def add(function: Function) -> Function:
        PROBLEMS.add(function.__name__, CodeProblem(function.__name__, function, calls))
        return function

    return add


@problem((["pear", "fig"],), ([],), (["a", "bb", "cc"],), (["", ""],))
def longest_word(words: list[str]) -> str:
    """Return the longest of the words, the first one of equals; "" for no words.

    >>> longest_word(["fig", "apple", "grape"])
    'apple'
    """
    return max(words, key=len, default="")


@problem((0,), (7,), (1005,), (99999,))
def digit_sum(number: int) -> int:
    """Return the sum of the decimal digits of a number that is not negative.

    >>> digit_sum(472)
    13
    """
    return sum(int(digit) for digit in str(number))


@problem(("Level",), ("",), ("ab",), ("A man, a plan",), ("No lemon, no melon",))
def reads_both_ways(text: str) -> bool:
    """Say whether a text reads the same backwards; only letters count, in any case.

    >>> reads_both_ways("Was it a car?")
    False
    """
    letters = [letter.lower() for letter in text if letter.isalpha()]
    return letters == letters[::-1]


@problem(([3, 1, 2],), ([],), ([5, 5, 4],), ([-1, -3, 0, 0],))
def running_maximum(numbers: list[int]) -> list[int]:
    """Return for each place the largest number up to and including it.

    >>> running_maximum([2, 1, 4, 3])
    [2, 2, 4, 4]
    """
    found: list[int] = []
    for number in numbers:
        found.append(max(found[-1], number) if found else number)
    return found


@problem(("hello",), ("",), ("aaB",), ("zz top",))
def count_letters(text: str) -> dict[str, int]:
    """Count how often each character of a text occurs.

    >>> count_letters("abca")
    {'a': 2, 'b': 1, 'c': 1}
    """
    counts: dict[str, int] = {}
    for letter in text:
        counts[letter] = counts.get(letter, 0) + 1
    return counts


@problem((12, 18), (7, 13), (100, 75), (5, 5))
def common_divisor(first: int, second: int) -> int:
    """Return the greatest number that divides both numbers, which are at least 1.

    >>> common_divisor(8, 12)
    4
    """
    while second:
        first, second = second, first % second
    return first


@problem((1,), (2,), (97,), (91,), (0,))
def is_prime(number: int) -> bool:
    """Say whether a number is a prime.

    >>> is_prime(9)
    False
    """
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


@problem(([1, 2, 2, 3, 1],), ([],), (["b", "a", "b"],), ([0, 0, 0],))
def without_repeats(values: list[int]) -> list[int]:
    """Return the values without later repeats, in the order of their first places.

    >>> without_repeats([4, 4, 2, 4])
    [4, 2]
    """
    return list(dict.fromkeys(values))


@problem(("3 + 4",), ("10 - 12",), ("6 * 7",), ("0 - 0",))
def calculate(expression: str) -> int:
    """Compute "A + B", "A - B" or "A * B", whose parts stand between single spaces.

    >>> calculate("2 * 5")
    10
    """
    left, sign, right = expression.split(" ")
    a, b = int(left), int(right)
    return a + b if sign == "+" else a - b if sign == "-" else a * b


@problem(([[1, 2], [3]],), ([],), ([[], [4, 5], []],), ([[0], [0]],))
def joined(lists: list[list[int]]) -> list[int]:
    """Return one list with the items of all lists, in order.

    >>> joined([[1], [2, 3]])
    [1, 2, 3]
    """
    return [item for part in lists for item in part]


@problem((1994,), (4,), (2023,), (9,), (40,))
def roman(number: int) -> str:
    """Write a number from 1 to 3999 in Roman numerals.

    >>> roman(14)
    'XIV'
    """
    signs = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    text = ""
    values = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
    for value, sign in zip(values, signs, strict=True):
        text += sign * (number // value)
        number %= value
    return text


@problem((0,), (1,), (10,), (30,))
def fibonacci(index: int) -> int:
    """Return the Fibonacci number of an index; those of 0 and 1 are 0 and 1.

    >>> fibonacci(6)
    8
    """
    first, second = 0, 1
    for _ in range(index):
        first, second = second, first + second
    return first


@problem(("the cat sat",), ("",), ("  two   words ",), ("one",))
def reversed_words(text: str) -> str:
    """Return the words of a text in reverse order, with single spaces between.

    >>> reversed_words("a b  c")
    'c b a'
    """
    return " ".join(text.split()[::-1])


@problem(([1, 2, 3, 4], 2), ([1, 2, 3], 0), ([1, 2, 3], 4), ([], 3))
def rotated(values: list[int], steps: int) -> list[int]:
    """Move every value that many places to the right; what falls off comes in at the left.

    >>> rotated([1, 2, 3], 1)
    [3, 1, 2]
    """
    cut = -steps % len(values) if values else 0
    return values[cut:] + values[:cut]


@problem(([1, 3, 5], [2, 4]), ([], [1]), ([1, 1], [1]), ([-5], []))
def merged(first: list[int], second: list[int]) -> list[int]:
    """Merge two sorted lists into one sorted list.

    >>> merged([1, 4], [2, 3])
    [1, 2, 3, 4]
    """
    return sorted(first + second)


@problem(([2, 7, 11], 9), ([3, 3], 6), ([1, 2], 5), ([], 0), ([5, 1, 4], 5))
def pair_of_sum(numbers: list[int], total: int) -> list[int]:
    """Return the places [i, j], i < j, of two numbers with this sum, the least i first; else [].

    >>> pair_of_sum([4, 6, 5], 11)
    [1, 2]
    """
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            if numbers[i] + numbers[j] == total:
                return [i, j]
    return []


@problem(("(())",), ("",), (")(",), ("(()",), ("a(b)c",))
def is_balanced(text: str) -> bool:
    """Say whether every round bracket of a text is closed, and none before it is opened.

    >>> is_balanced("()(")
    False
    """
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0


@problem(("aaabb",), ("",), ("abc",), ("zzzzzzzzzzzz",))
def run_lengths(text: str) -> list[list[object]]:
    """Return [character, length] of every run of equal characters.

    >>> run_lengths("aab")
    [['a', 2], ['b', 1]]
    """
    found: list[list[Any]] = []
    for letter in text:
        if found and found[-1][0] == letter:
            found[-1][1] += 1
        else:
            found.append([letter, 1])
    return found


@problem((5, 2), (255, 16), (0, 2), (81, 3))
def digits_in_base(number: int, base: int) -> list[int]:
    """Return the digits of a number that is not negative in a base, the highest first.

    >>> digits_in_base(6, 2)
    [1, 1, 0]
    """
    digits = [number % base]
    while number := number // base:
        digits.insert(0, number % base)
    return digits


@problem(([[1, 2, 3], [4, 5, 6]],), ([[7]],), ([[1], [2]],), ([[0, 1]],))
def transposed(rows: list[list[int]]) -> list[list[int]]:
    """Turn the rows of a table, all of one length, into its columns.

    >>> transposed([[1, 2], [3, 4]])
    [[1, 3], [2, 4]]
    """
    return [list(column) for column in zip(*rows, strict=True)]


@problem(("Hello, World",), ("aeiou",), ("",), ("XYZ",))
def count_vowels(text: str) -> int:
    """Count the letters a, e, i, o and u of a text, in either case.

    >>> count_vowels("Idea")
    3
    """
    return sum(letter in "aeiou" for letter in text.lower())


@problem(([5, 1, 5, 3],), ([2, 2],), ([],), ([-1, -2],))
def second_largest(numbers: list[int]) -> int | None:
    """Return the second largest of the different numbers; None where there is none.

    >>> second_largest([4, 9, 7])
    7
    """
    different = sorted(set(numbers))
    return different[-2] if len(different) > 1 else None


@problem(("abc", 1), ("xyz", 3), ("Hi there", 2), ("z", 26))
def shifted(text: str, steps: int) -> str:
    """Move every lower-case letter that many letters on, from z on to a; leave all else as it is.

    >>> shifted("az!", 1)
    'ba!'
    """
    moved = ""
    for letter in text:
        small = "a" <= letter <= "z"
        moved += chr((ord(letter) - 97 + steps) % 26 + 97) if small else letter
    return moved


@problem((["ab", "ba", "c"],), ([],), (["x", "y", "x"],), (["abc", "cab", "bd", "db"],))
def grouped_by_letters(words: list[str]) -> list[list[str]]:
    """Group words of the same letters; groups and words in the order of their first places.

    >>> grouped_by_letters(["on", "it", "no"])
    [['on', 'no'], ['it']]
    """
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault("".join(sorted(word)), []).append(word)
    return list(groups.values())
