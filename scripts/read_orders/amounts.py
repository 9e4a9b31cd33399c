"""How amounts are written: signs, currencies, thousands, and the decimal mark."""

import re
import unicodedata
from collections import Counter, namedtuple
from decimal import Decimal

from .cache import Cache
from .report import counted, remark, shorten
from .words import CODES, CURRENCY_SIGNS

CORE = re.compile(r"(?:(?<![^\W\d_])[.,])?[0-9](?:[0-9.,'’\s]*[0-9])?[.,]?")
PLAIN = re.compile(r'[0-9]+(?:\.[0-9]{1,2})?').fullmatch
ALL_PLAIN = re.compile(r'(?:[0-9]{1,30}(?:\.[0-9]{1,2})?\n)*', re.A).fullmatch
EITHER = re.compile(r'[1-9][0-9]{0,2}[.,][0-9]{3}').fullmatch
SIGNS = '-−–'
NO_CENTS = re.compile(r'(?<=[0-9])[.,][-–—]{1,2}').sub     # 5,-
EXPONENT = re.compile('[eE][-+]?[0-9]').match
LOST_DIGITS = 'has lost digits, as Excel shows large numbers; export it with all of them'
NO_SIGNS = re.compile(f'[{SIGNS}+]').sub
NO_DIGITS = re.compile('[^0-9]').sub
AS_TEXT = re.compile('="(.*)"', re.S)       # ="00123", which spreadsheets keep as it is


def are_plain(texts):
    """Tells whether all amounts are as PostgreSQL writes them, in one way only."""
    return ALL_PLAIN('\n'.join(texts) + '\n') is not None


class Amount(namedtuple('Amount', 'text number either')):
    """An amount: as PostgreSQL writes it, its number, and what could be read in two ways."""

    __slots__ = ()

    def __neg__(self):
        return self._replace(text=self.text[1:], number=-self.number)

    def __abs__(self):
        return -self if self.number < 0 else self


class Amounts:
    """Reads amounts, all of a file with one decimal mark."""

    def __init__(self, options, shapes, delimiter):
        votes = Counter()
        for shape, number in shapes.items():
            votes[self.mark_of(shape)] += number
        self.certain = bool(options.decimals or votes['.'] or votes[','])
        if options.decimals:
            self.mark = ',' if options.decimals == 'COMMA' else '.'
        elif self.certain:
            self.mark = ',' if votes[','] > votes['.'] else '.'
        else:
            self.mark = ',' if delimiter == ';' else '.'
        group = r"[\s'’" + ('.]' if self.mark == ',' else ',]')
        thousands = rf'[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}'
        fraction = rf'(?:{re.escape(self.mark)}([0-9]*))?'
        self.number = re.compile(rf'([0-9]+|{thousands}|){fraction}').fullmatch
        self.known = Cache(self.read_new)
        self.around = Cache(lambda around: self.read_around(*around))
        self.either = None      # the first amount that could be read in two ways
        self.either_number = 0
        self.currencies = None  # those that all amounts so far can be in

    @staticmethod
    def mark_of(shape):
        """Tells the decimal mark that an amount must have, if it tells."""
        core = CORE.search(shape)
        if not core:
            return None
        core = core.group()
        points, commas = core.count('.'), core.count(',')
        if points and commas:
            return '.' if core.rfind('.') > core.rfind(',') else ','
        if points + commas == 0 or EITHER(core):
            return None
        mark, other = ('.', ',') if points else (',', '.')
        return mark if points + commas == 1 else other

    def read(self, text, line):
        """Returns an amount; raises ValueError with what is wrong."""
        amount = self.known[text]
        if amount.either:
            self.either_number += 1
            self.either = self.either or (line, amount.either)
        return amount

    def read_new(self, text):
        if self.mark == '.' and len(text) < 40 and PLAIN(text):
            return Amount(text, Decimal(text), '')
        text = self.unwrap(text.strip())
        negative = text[0] == '(' and text[-1] == ')'
        text = NO_CENTS('', text[1:-1].strip() if negative else text)
        core = CORE.search(text)
        number = core and self.number(core.group().strip())
        if not number or not (number[1] or number[2]):
            raise ValueError(self.explain(core))
        minus = self.around[text[:core.start()], text[core.end():]]
        digits = NO_DIGITS('', number[1]) or '0'
        digits += f'.{number[2]}' if number[2] else ''
        digits = '-' + digits if (negative or minus) and digits.strip('0.') else digits
        return Amount(digits, Decimal(digits), self.read_either(core.group()))

    @staticmethod
    def unwrap(text):
        """Takes what spreadsheets put around a text away; refuses what cannot be an amount."""
        wrapped = AS_TEXT.fullmatch(text)
        text = wrapped[1].strip() if wrapped else text
        if not text:
            raise ValueError('is no amount: write one, or 0')
        if len(text) > 60:
            raise ValueError('is too long for an amount')
        return text

    def explain(self, core):
        if not core:
            return 'is not an amount'
        other, name = ('comma', 'point') if self.mark == '.' else ('point', 'comma')
        return f'is not an amount with a decimal {name}, which the others have; correct it, ' \
               f'or write DECIMALS={other}'

    def read_either(self, core):
        """Returns what a person could read in another way: 1.234."""
        return core if EITHER(core) and (self.mark in core or not self.certain) else ''

    def read_around(self, before, after):
        """Reads the sign and the currency beside a number; returns whether it is negative."""
        if EXPONENT(after):
            raise ValueError(LOST_DIGITS)
        minus = 0
        for part in (before, after):
            minus += sum(part.count(sign) for sign in SIGNS)
            self.add_currency(NO_SIGNS('', part))
        if minus > 1:
            raise ValueError('has more than one sign')
        return minus == 1

    def add_currency(self, text, _line=None):
        text = text.strip()
        if not text:
            return
        codes = CURRENCY_SIGNS.get(text.upper())
        if codes is None and text.upper() not in CODES and (
                len(text) > 1 or unicodedata.category(text) != 'Sc'):
            raise ValueError(f'has {shorten(text)} beside the number, which is no currency')
        codes = frozenset(codes or {text.upper()})
        if self.currencies is not None and not codes & self.currencies:
            raise ValueError('is in another currency than those above '
                             f"({'/'.join(sorted(self.currencies))}): "
                             'read one file for each currency, or convert them')
        self.currencies = codes if self.currencies is None else codes & self.currencies

    def describe(self):
        if self.either:
            line, text = self.either
            read = text.replace(self.mark, 'x').replace(',', '').replace('.', '').replace('x', '.')
            other = 'comma' if self.mark == '.' else 'point'
            remark(f'{counted(self.either_number, "amount")} could be read in two ways; the first, '
                   f'line {line}: {text} was read as {read}. '
                   f'DECIMALS={other} reads it the other way.')

    def summary(self):
        return f"amounts with a decimal {'point' if self.mark == '.' else 'comma'}"
