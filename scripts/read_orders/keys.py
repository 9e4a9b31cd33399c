"""How keys are written, of customers and of orders: as they are, but for what spreadsheets add."""

import re

from .amounts import AS_TEXT, LOST_DIGITS
from .cache import Cache
from .words import NO_KEY, is_total_word

INVISIBLE = ' \t\r\n\xa0\u200b\u200e\u200f\u2060\ufeff'
PLAIN = re.compile('[0-9]+|[A-Z]+[-_]?[0-9]+', re.A).fullmatch
SCIENTIFIC = re.compile(r'[0-9](?:[.,][0-9]+)?E\+[0-9]+', re.I).fullmatch
SPREADSHEET_ERROR = re.compile(r'#(REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!|BEZUG!|WERT!|#+)').fullmatch
TOTAL = None

# Keys below each other that read_key leaves as they are: they have a digit, and no signs.
# Each line matches in one way only, so that a long column is not tried in many.
ALL_PLAIN = re.compile(r'(?:#?[A-Za-z_-]*[0-9][\w-]*\n)*', re.A).fullmatch


def read_key(text, no_key=NO_KEY):
    """Returns a key, '' if there is none; raises ValueError if a spreadsheet has spoilt it."""
    if PLAIN(text):
        return text if text not in no_key else ''
    key = text.strip().strip(INVISIBLE)
    wrapped = AS_TEXT.fullmatch(key)
    key = wrapped[1].strip() if wrapped else key
    if SCIENTIFIC(key):
        raise ValueError(LOST_DIGITS)
    if SPREADSHEET_ERROR(key):
        raise ValueError('is what a spreadsheet shows for an error; correct it there')
    return '' if key.lower() in no_key else key


def are_plain(keys):
    """Tells whether all of many keys are as read_key would return them."""
    return ALL_PLAIN('\n'.join(keys) + '\n') is not None


class CustomerKeys:
    """Reads customers' keys. Addresses are compared in small letters."""

    def __init__(self, layout):
        self.is_address = 'mail' in layout.plain[layout.columns['customer_id']]
        self.may_be_total = 'order_id' not in layout.columns
        self.known = Cache(self.read)
        self.no_key = NO_KEY | ({'0'} if layout.preset else set())

    def read_all(self, texts):
        """Reads many keys as below."""
        if self.no_key == NO_KEY and not self.may_be_total and are_plain(texts):
            return texts
        return list(map(self.known.__getitem__, texts))

    def read(self, text):
        """Returns a key, '' if there is none, or TOTAL."""
        key = read_key(text, self.no_key)
        if self.may_be_total and is_total_word(key):
            return TOTAL
        return key.lower() if self.is_address or '@' in key else key
