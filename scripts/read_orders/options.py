"""What the environment says of the file."""

import codecs
import csv

from .report import Refusal
from .words import NAMES, plain_word


class Options:
    """What the environment says of the file."""

    def __init__(self, environment):
        self.columns = dict(self.pairs(environment, 'MAP'))
        self.kinds = {plain_word(word): kind for word, kind in self.pairs(environment, 'KINDS')}
        self.dates = self.one_of(environment, 'DATES', ('DMY', 'MDY', 'YMD'))
        self.decimals = self.one_of(environment, 'DECIMALS', ('POINT', 'COMMA'))
        self.rows = self.one_of(environment, 'ROWS', ('LINES', 'ORDERS'))
        self.delimiter = environment.get('DELIMITER', '').replace('\\t', '\t')
        self.encoding = environment.get('ENCODING', '')
        self.check()

    @staticmethod
    def pairs(environment, name):
        """Splits a=b,c=d; quotes protect commas in names."""
        for pair in next(csv.reader([environment.get(name, '')]), []):
            key, equals, value = (part.strip() for part in pair.partition('='))
            if not equals:
                raise Refusal(f"{name}: '{pair}' is not of the form name=value")
            yield key, value

    @staticmethod
    def one_of(environment, name, values):
        value = environment.get(name, '').strip().upper()
        if value and value not in values:
            raise Refusal(f"{name}: '{value}' is none of {', '.join(values)}")
        return value

    def check(self):
        for role in self.columns:
            if role not in NAMES:
                raise Refusal(f"MAP: '{role}' is none of {', '.join(NAMES)}")
        for kind in self.kinds.values():
            if kind not in ('order', 'refund', 'none'):
                raise Refusal(f"KINDS: '{kind}' is none of order, refund, none")
        if len(self.delimiter) > 1:
            raise Refusal(f"DELIMITER: '{self.delimiter}' is not one character")
        try:
            codecs.lookup(self.encoding or 'utf-8')
        except LookupError:
            raise Refusal(f"ENCODING: '{self.encoding}' is not known") from None
