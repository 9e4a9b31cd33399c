"""The fast way: plain orders, by the thousand, column by column."""

from decimal import Decimal

from .amounts import are_plain as are_plain_amounts
from .file import number_rows
from .keys import are_plain as are_plain_keys


class ColumnReader:
    """Reads rows column by column where all are plain orders, and else as the reader does."""

    def __init__(self, reader, survey):
        self.reader, self.survey = reader, survey
        self.rules, self.book = reader.rules, reader.book

    def read(self, line, rows):
        """Reads rows, and lets the survey look at them."""
        if set(map(len, rows)) == {self.reader.width}:
            columns = list(zip(*rows))
            self.survey.look(columns)
            if self.read_columns(rows, columns):
                return
        else:
            self.survey.look_at_ragged(rows)
        for number, row in number_rows(line, rows):
            if any(row):
                self.reader.read(number, row)

    def read_columns(self, rows, columns):
        """Reads rows if all are plain; returns False, and has done nothing, if one is not."""
        reader = self.reader
        orders = [''] * len(rows) if reader.order is None else columns[reader.order]
        if reader.order is not None and not are_plain_keys(orders):
            return False
        if not self.rules.all_orders(columns):
            return False
        try:
            customers = reader.customer_keys.read_all(columns[reader.customer])
            texts, numbers = self.read_amounts(columns[reader.amount])
            whens = reader.dates.read_all(self.dates(rows, columns))
            if not all(customers) or not self.no_more(columns):
                return False
        except ValueError:
            return False
        return self.book.add_all(rows, customers, orders, whens, texts, numbers)

    def read_amounts(self, column):
        """Returns amounts as texts and as numbers; raises ValueError if not all are plain."""
        amounts = self.reader.amounts
        if amounts.mark == '.' and are_plain_amounts(column):
            return column, map(Decimal, column)
        texts, numbers, eithers = zip(*map(amounts.known.__getitem__, column))
        if any(eithers) or min(numbers) < 0:
            raise ValueError
        return texts, numbers

    def dates(self, rows, columns):
        reader = self.reader
        return list(map(reader.when, rows)) if 'time' in reader.at else columns[reader.date]

    def no_more(self, columns):
        """Tells whether nothing was refunded, and checks currencies."""
        reader = self.reader
        if 'currency' in reader.at:
            for text in dict.fromkeys(columns[reader.at['currency']]):
                reader.amounts.add_currency(text)
        return 'refunded' not in reader.at or not any(
            text.strip() and reader.amounts.known[text].number
            for text in set(columns[reader.at['refunded']]))
