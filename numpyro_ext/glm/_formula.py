"""The text of a formula, read by its grammar: nothing else reaches an evaluator."""

import ast
import dataclasses
import keyword
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .._checks import nearest

# Of one number for each row; the first ones may stand inside of other functions.
ELEMENTWISE = ("I", "log", "log1p", "log2", "log10", "exp", "sqrt", "abs")
_STATEFUL = {
    "center": (),
    "scale": ("center", "scale", "ddof"),
    "standardize": ("center", "rescale", "ddof"),
}
# Of several columns for each row, so that they are terms of their own.
_BASES = {
    "poly": ("degree", "raw"),
    "bs": ("df", "knots", "degree", "include_intercept", "lower_bound", "upper_bound"),
    "cr": ("df", "knots", "lower_bound", "upper_bound", "constraints"),
    "cc": ("df", "knots", "lower_bound", "upper_bound", "constraints"),
}
_OPTIONS = {**_STATEFUL, **_BASES, "C": ("contrasts", "levels")}
# Contrasts, by the names of formulaic and of patsy, and their options.
CONTRASTS = {
    "treatment": ("base",),
    "sum": (),
    "helmert": ("reverse", "scale"),
    "poly": ("scores",),
    "diff": ("backward",),
}
_PATSY = {
    "Treatment": "treatment",
    "Sum": "sum",
    "Helmert": "helmert",
    "Poly": "poly",
    "Diff": "diff",
}
ALLOWED = (*ELEMENTWISE, *_OPTIONS)
# A formula is short; what is longer was made to exhaust something.
_LONGEST, _MOST_TERMS, _LARGEST = 20_000, 5_000, 1_000
# Of a long formula, messages show the beginning.
_SHOWN = 200

# Strings are kept, quoted names are columns, and a colon is no operator of Python.
_TOKENS = re.compile(
    r"\"[^\"\\\n]*\"|'[^'\\\n]*'|`[^`\n]*`|:|[A-Za-z_]\w*|.", re.DOTALL
)
_PLAIN = re.compile(r"[\w\s+\-*/()\[\],=.]")
_OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: ":",
}


class UnsafeFormulaError(ValueError):
    """A formula holds something beyond columns, numbers, operators and transforms."""


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula whose every name is an alias, and what the aliases stand for.

    Attributes:
        text: the formula as it was written.
        response: the left side, an expression.
        response_words: the left side as it was written.
        terms: the right side.
        columns: alias -> (column, whether its values are categories).
        values: alias -> the arguments of functions.
        contrasts: alias -> the name of contrasts, and their options.
        levels: alias -> the levels that the formula gives a column.
        shown: alias -> what the user wrote.
        response_columns: the columns of the left side.
    """

    text: str
    response: str
    response_words: str
    terms: str
    columns: dict[str, tuple[str, bool]]
    values: dict[str, Any]
    contrasts: dict[str, tuple[str, dict[str, Any]]]
    levels: dict[str, list[Any]]
    shown: dict[str, str]
    response_columns: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of both sides."""
        return tuple(dict.fromkeys(name for name, _ in self.columns.values()))

    def show(self, words: str) -> str:
        """Returns words with every alias as the user wrote it."""
        pattern = re.compile("|".join(map(re.escape, self.shown)) or r"(?!)")
        return pattern.sub(lambda found: self.shown[found.group()], words)


def parse(
    text: str, columns: Iterable[str], is_category: Callable[[str], bool]
) -> Formula:
    """Reads a formula of these columns.

    Args:
        text: `response ~ terms`.
        columns: the names that the data have.
        is_category: whether a column, written alone, holds categories.

    Raises:
        UnsafeFormulaError: for anything but columns, operators, numbers and the listed
            functions, naming it.
        ValueError: for a column that the data lack, and for a formula without a
            response or without terms.
    """
    if not isinstance(text, str):
        raise TypeError(f"A formula is text, and this is {type(text).__name__}.")
    if len(text) > _LONGEST:
        raise UnsafeFormulaError(
            f"The formula has {len(text)} characters, and may have {_LONGEST}. Give "
            "the design as an array: `glm.fit(family, X, y)`."
        )
    try:
        return _Reader(text, tuple(columns), is_category).read()
    except RecursionError:
        raise UnsafeFormulaError(
            f"The formula {text!r:.60} is nested too deeply. Give the design as an "
            "array: `glm.fit(family, X, y)`."
        ) from None


def _summands(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Returns the parts of a sum with their signs, from left to right."""
    found: list[tuple[str, ast.expr]] = []
    waiting = [("+", node)]
    while waiting:
        sign, item = waiting.pop()
        other = "-" if sign == "+" else "+"
        if isinstance(item, ast.UnaryOp) and isinstance(item.op, ast.USub | ast.UAdd):
            flips = isinstance(item.op, ast.USub)
            waiting.append((other if flips else sign, item.operand))
        elif isinstance(item, ast.BinOp) and isinstance(item.op, ast.Add | ast.Sub):
            flips = isinstance(item.op, ast.Sub)
            waiting.append((other if flips else sign, item.right))
            waiting.append((sign, item.left))
        else:
            found.append((sign, item))
    return found


class _Reader:
    """Turns the tree of a formula into text of aliases, or refuses it."""

    def __init__(
        self, text: str, known: tuple[str, ...], is_category: Callable[[str], bool]
    ) -> None:
        self.known, self.is_category = known, is_category
        self.text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
        self.whole = text
        self.columns: dict[str, tuple[str, bool]] = {}
        self.values: dict[str, Any] = {}
        self.contrasts: dict[str, tuple[str, dict[str, Any]]] = {}
        self.levels: dict[str, list[Any]] = {}
        self.shown: dict[str, str] = {}
        self.quoted: dict[str, str] = {}
        self.stem = "q"
        while self.stem in text or any(self.stem in str(name) for name in known):
            self.stem += "q"

    def read(self) -> Formula:
        left, right = self._sides()
        tree = self._tree(left)
        response, words = self._number(tree), self._source(tree)
        sources = tuple(dict.fromkeys(column for column, _ in self.columns.values()))
        before = set(self.columns)
        if not sources:
            raise ValueError(
                f"The formula {self.text!r} has a response without any column. Write "
                "`response ~ term + term`."
            )
        terms = self._terms(self._tree(right))
        for alias in set(self.columns) - before:
            self._check_one_side(self.columns[alias][0], sources)
        for alias in before:
            if re.search(rf"\b{alias}\b", terms):
                self._check_one_side(self.columns[alias][0], sources)
        return Formula(
            text=self.text,
            response=response,
            response_words=words,
            terms=terms,
            columns=self.columns,
            values=self.values,
            contrasts=self.contrasts,
            levels=self.levels,
            shown=self.shown,
            response_columns=sources,
        )

    def _check_one_side(self, column: str, sources: tuple[str, ...]) -> None:
        if column in sources:
            raise ValueError(
                f"The formula {self.text!r} has `{column}` on both sides. A response "
                "cannot explain itself: take it out of the terms."
            )

    # -- from text to a tree ---------------------------------------------------------

    def _sides(self) -> tuple[str, str]:
        pieces, sides = [], []
        for token in _TOKENS.findall(self.whole):
            if token == "~":
                sides.append("".join(pieces))
                pieces = []
            elif token == ":":
                pieces.append("@")
            elif token[0] == "`" and len(token) > 1:
                pieces.append(self._quoted_name(token[1:-1]))
            elif token[0] in "\"'" and len(token) > 1:
                pieces.append(token)
            elif keyword.iskeyword(token) and token not in ("True", "False", "None"):
                self._refuse(f"`{token}`")
            elif not _PLAIN.fullmatch(token[0]):
                self._refuse(f"the character {token!r}")
            else:
                pieces.append(token)
        sides.append("".join(pieces))
        if len(sides) != 2 or not sides[0].strip():
            raise ValueError(
                f"The formula {self.text!r} needs one response and one `~`. Write "
                "`response ~ term + term`."
            )
        if not sides[1].strip():
            raise ValueError(
                f"The formula {self.text!r} has no term on its right side. Write `1` "
                "there for an intercept alone."
            )
        return sides[0], sides[1]

    def _quoted_name(self, name: str) -> str:
        if name not in self.known:
            raise ValueError(
                f"The formula quotes `{name}`, which is no column of the data; "
                + nearest(name, map(str, self.known))
            )
        marker = f"{self.stem}n{len(self.quoted)}z"
        self.quoted[marker] = name
        return marker

    def _tree(self, side: str) -> ast.expr:
        try:
            return ast.parse(side.strip().replace("\n", " "), mode="eval").body
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            reason = getattr(error, "msg", None) or type(error).__name__
            raise ValueError(
                f"The formula {self.text!r} cannot be read: {reason}. Write for "
                "example `y ~ x + C(g)`, and names that are no plain words in "
                "backticks."
            ) from None

    # -- the grammar -----------------------------------------------------------------

    def _terms(self, node: ast.expr) -> str:
        """Returns the text of the right side, its intercept written out."""
        has_intercept, total = True, 0
        parts: list[str] = []
        for sign, item in _summands(node):
            if isinstance(item, ast.Constant) and type(item.value) is int:
                if item.value not in (0, 1):
                    self._refuse(f"the term {item.value}, which is neither 0 nor 1")
                has_intercept = (item.value == 1) == (sign == "+")
                continue
            words, count = self._term(item)
            if not any(alias in words for alias in self.columns):
                self._refuse(f"the term `{self._source(item)}` without any column")
            total += count
            parts.append(f" {sign} ({words})")
        if total > _MOST_TERMS:
            self._refuse(f"about {total} terms after its products are written out")
        return f"{int(has_intercept)}" + "".join(parts)

    def _term(self, node: ast.expr) -> tuple[str, int]:
        """Returns the text of terms, and a bound of how many there are."""
        if isinstance(node, ast.Constant):
            self._refuse(f"the value {ast.unparse(node)} within a term")
        if isinstance(node, ast.Name):
            return self._column(node, None), 1
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return self._combination(node)
        if isinstance(node, ast.Call):
            name = self._function_name(node)
            if name == "C":
                return self._category(node), 1
            if name in _BASES:
                return self._call(node, name, _BASES[name]), 1
        return self._number(node), 1

    def _combination(self, node: ast.BinOp) -> tuple[str, int]:
        left, a = self._term(node.left)
        sign = _OPERATORS[type(node.op)]
        if isinstance(node.op, ast.Pow):
            power = getattr(node.right, "value", None)
            if type(power) is not int or not 1 <= power <= 20:
                self._refuse(
                    f"the power {ast.unparse(node.right)} of terms, which is no "
                    "integer from 1 to 20 (the square of a number is `I(x**2)`)"
                )
            count = sum(math.comb(a, k) for k in range(1, power + 1))
            return f"({left})**{power}", min(count, 10**9)
        right, b = self._term(node.right)
        products = {"*": a + b + a * b, "/": a + a * b, ":": a * b}
        return f"({left}){sign}({right})", min(products.get(sign, a + b), 10**9)

    def _number(self, node: ast.expr) -> str:
        """Returns the text of arithmetic on columns."""
        if isinstance(node, ast.Constant):
            value: Any = node.value
            if type(value) not in (int, float):
                self._refuse(f"{ast.unparse(node)}")
            # As floats, so that a power of integers cannot run on for ever.
            return self._alias(float(value), ast.unparse(node))
        if isinstance(node, ast.Name):
            return self._column(node, False)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign = "-" if isinstance(node.op, ast.USub) else "+"
            return f"({sign}{self._number(node.operand)})"
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            if isinstance(node.op, ast.MatMult):
                self._refuse("`:` within arithmetic")
            return self._arithmetic(node)
        if isinstance(node, ast.Call):
            name = self._function_name(node)
            if name in ELEMENTWISE:
                return self._call(node, name, ())
            if name in _STATEFUL:
                return self._call(node, name, _STATEFUL[name])
            self._refuse(f"`{name}(...)` within arithmetic")
        raise self._refusal(node)

    def _arithmetic(self, node: ast.BinOp) -> str:
        left, right = self._number(node.left), self._number(node.right)
        return f"({left} {_OPERATORS[type(node.op)]} {right})"

    def _call(self, node: ast.Call, name: str, options: tuple[str, ...]) -> str:
        if not node.args:
            self._refuse(f"`{ast.unparse(node)}`, a function of nothing")
        parts = [self._number(node.args[0])]
        if len(node.args) > 1 + len(options):
            self._refuse(f"`{ast.unparse(node)}`, which has too many arguments")
        for argument in node.args[1:]:
            parts.append(self._option(argument))
        for item in node.keywords:
            if item.arg not in options:
                self._refuse(f"the argument `{item.arg}` of `{name}`")
            parts.append(f"{item.arg}={self._option(item.value)}")
        return f"{name}({', '.join(parts)})"

    def _option(self, node: ast.expr) -> str:
        value = self._literal(node)
        if isinstance(value, int) and abs(value) > _LARGEST:
            self._refuse(f"the number {value}, an option beyond {_LARGEST}")
        return self._alias(value, ast.unparse(node))

    def _category(self, node: ast.Call) -> str:
        if not node.args or not isinstance(node.args[0], ast.Name):
            self._refuse(f"`{self._source(node)}`: `C` takes a column first")
        column = self._column(node.args[0], True)
        parts = [column]
        given = [("contrasts", argument) for argument in node.args[1:]]
        given += [(str(item.arg), item.value) for item in node.keywords]
        for name, value in given:
            if name not in _OPTIONS["C"] or len(node.args) > 2:
                self._refuse(f"the argument `{name}` of `C`")
            alias = self._new_alias(ast.unparse(value))
            if name == "contrasts":
                self.contrasts[alias] = self._contrast(value)
                parts.insert(1, alias)
            else:
                self.values[alias] = levels = self._levels(value)
                if self.levels.setdefault(column, levels) != levels:
                    self._refuse(f"two lists of levels of `{self.shown[column]}`")
                parts.append(f"levels={alias}")
        return f"C({', '.join(parts)})"

    def _levels(self, node: ast.expr) -> list[Any]:
        levels = self._literal(node)
        if not isinstance(levels, list):
            self._refuse(f"`levels={ast.unparse(node)}`, which is no list")
        return levels

    def _contrast(self, node: ast.expr) -> tuple[str, dict[str, Any]]:
        """Returns the name of the contrasts with their options."""
        call = node.func if isinstance(node, ast.Call) else node
        words = ast.unparse(call)
        name = _PATSY.get(words, words.removeprefix("contr."))
        if name not in CONTRASTS or words == name:
            self._refuse(
                f"the contrasts `{words}` (known are "
                + ", ".join(f"`contr.{known}`" for known in CONTRASTS)
                + ")"
            )
        options: dict[str, Any] = {}
        if isinstance(node, ast.Call):
            for known, argument in zip(CONTRASTS[name], node.args, strict=False):
                options[known] = self._literal(argument)
            if len(node.args) > len(CONTRASTS[name]):
                self._refuse(f"`{ast.unparse(node)}`, which has too many arguments")
            for item in node.keywords:
                known = "base" if item.arg == "reference" else item.arg
                if known not in CONTRASTS[name]:
                    self._refuse(f"the argument `{item.arg}` of `{words}`")
                options[str(known)] = self._literal(item.value)
        return name, options

    def _literal(self, node: ast.expr) -> Any:
        """Returns the value of an argument: a number, a word, or a list of them."""
        if isinstance(node, ast.List | ast.Tuple):
            return [self._literal(item) for item in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._literal(node.operand)
            if isinstance(value, int | float):
                return -value
        if isinstance(node, ast.Constant):
            plain = isinstance(node.value, int | float | str | None)
            if plain and not (type(node.value) is int and node.value > 2**63):
                return node.value
        raise self._refusal(node)

    # -- names -----------------------------------------------------------------------

    def _column(self, node: ast.Name, is_category: bool | None) -> str:
        name = self.quoted.get(node.id, node.id)
        if name not in self.known:
            if name.startswith("__") or name in ("eval", "exec", "open", "getattr"):
                self._refuse(f"`{name}`")
            raise ValueError(
                f"The formula {self.text!r} names `{name}`, and the data have no such "
                "column; " + nearest(name, map(str, self.known))
            )
        if is_category is None:
            is_category = self.is_category(name)
        for alias, known in self.columns.items():
            if known == (name, is_category):
                return alias
        alias = self._new_alias(name)
        self.columns[alias] = (name, is_category)
        return alias

    def _alias(self, value: Any, words: str) -> str:
        alias = self._new_alias(words)
        self.values[alias] = value
        return alias

    def _new_alias(self, words: str) -> str:
        alias = f"{self.stem}{len(self.shown)}z"
        self.shown[alias] = words
        return alias

    def _function_name(self, node: ast.Call) -> str:
        if not isinstance(node.func, ast.Name) or node.func.id not in ALLOWED:
            self._refuse(f"`{self._source(node.func)}`")
        return node.func.id

    def _source(self, node: ast.AST) -> str:
        words = ast.unparse(node).replace(" @ ", ":")
        for marker, name in self.quoted.items():
            words = words.replace(marker, f"`{name}`")
        return words

    # -- refusals --------------------------------------------------------------------

    def _refusal(self, node: ast.expr) -> ValueError:
        words = self._source(node)
        if words in self.known and not words.isidentifier():
            return ValueError(
                f"The formula names {words}, a column whose name is no plain word. "
                f"Quote it: `{words}` in backticks."
            )
        return self._error(f"`{words}`")

    def _refuse(self, what: str) -> NoReturn:
        raise self._error(what)

    def _error(self, what: str) -> UnsafeFormulaError:
        return UnsafeFormulaError(
            f"The formula {self.text!r} holds {what}. A formula may hold names of "
            "columns, numbers, the operators ~ + - : * / ** and parentheses, and the "
            f"functions {', '.join(ALLOWED)}. Compute anything else first, as a column "
            "of the data."
        )
