"""The orders: read from the rows that count, field by field."""

from operator import itemgetter

from .cache import Cache
from .keys import TOTAL, CustomerKeys, read_key
from .words import REQUIRED


class Reader:
    """Reads the rows, and writes the orders among them into the book."""

    def __init__(self, layout, rules, amounts, dates, book):
        self.layout, self.rules, self.book = layout, rules, book
        self.amounts, self.dates = amounts, dates
        self.at, self.width = layout.columns, len(layout.header)
        self.customer, self.date, self.amount = (self.at[role] for role in REQUIRED)
        self.order = self.at.get('order_id')
        keys = (self.customer, self.date, self.order)
        self.keys_of = itemgetter(*(column for column in keys if column is not None))
        self.customer_keys, self.order_ids = CustomerKeys(layout), Cache(read_key)
        self.customers = self.customer_keys.known
        self.has_more = not {'refunded', 'currency', 'time'}.isdisjoint(self.at)
        payer = layout.preset.get('payer')
        self.payer = layout.plain.index(payer) if payer in layout.plain else self.customer

    def read(self, line, row):
        """Reads one row, unless it is none of an order."""
        rules = self.rules
        if len(row) != self.width or not all(map(str.strip, self.keys_of(row))):
            if not rules.fits(line, row):
                return
        kind = 'order' if rules.all_count else rules.kind_of(line, row)
        if not kind:
            return
        try:
            when = self.dates.read(self.when(row) if self.has_more else row[self.date])
            amount = self.amounts.read(row[self.amount], line)
            order = '' if self.order is None else self.order_ids[row[self.order]]
            customer = self.customers[row[self.customer]]
            refunded = self.read_more(line, row) if self.has_more else None
        except ValueError:
            self.report(line, row)
            return
        if amount.number < 0:
            amount, customer = -amount, self.customers[row[self.payer]]
            kind = self.rules.negative(kind)
        if not customer:
            rules.left_out['with a total' if customer is TOTAL else 'without a customer'] += 1
        else:
            self.book.add(line, row, (customer, order, when, amount, kind), refunded)

    def when(self, row):
        """Puts a time together that is in several columns."""
        if 'time' not in self.at:
            return row[self.date]
        return ' '.join(row[self.at[role]].strip() for role in ('ordered_at', 'time', 'zone')
                        if role in self.at and row[self.at[role]].strip())

    def read_more(self, line, row):
        """Checks the currency, and returns what was refunded, or None."""
        if 'currency' in self.at:
            self.amounts.add_currency(row[self.at['currency']])
        column = self.at.get('refunded')
        if column is None or not row[column].strip():
            return None
        return self.amounts.read(row[column], line)

    def report(self, line, row):
        """Reports all that is wrong with a row, unless it is the header again."""
        if self.rules.is_header(row):
            self.rules.left_out['with the header again'] += 1
            return
        parts = [('ordered_at', lambda _: self.dates.read(self.when(row))),
                 ('amount', lambda text: self.amounts.read(text, line)),
                 ('order_id', self.order_ids.__getitem__),
                 ('customer_id', self.customers.__getitem__),
                 ('refunded', lambda text: text.strip() and self.amounts.read(text, line)),
                 ('currency', self.amounts.add_currency)]
        for role, read in parts:
            if role in self.at:
                self.attempt(read, line, row, role)

    def attempt(self, read, line, row, role):
        """Reads a field, or reports what is wrong with it."""
        value = row[self.at[role]]
        try:
            read(value)
        except ValueError as error:
            if role == 'ordered_at':
                value = self.when(row)
            self.rules.faults.add(line, self.layout.header[self.at[role]], value, str(error))
