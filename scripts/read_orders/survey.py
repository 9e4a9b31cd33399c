"""What rows tell of how dates and amounts are written."""

from collections import Counter
from operator import itemgetter

from .amounts import Amounts, are_plain
from .dates import DayOrder, start_of

DIGITS = str.maketrans('123456789', '9' * 9)
STARTS = itemgetter(slice(10))


class Survey:
    """Collects the shapes of amounts, the starts of dates, and whether dates have a time."""

    def __init__(self, layout):
        self.shapes, self.starts, self.timed = Counter(), set(), False
        self.dates = layout.columns['ordered_at']
        self.amounts = [layout.columns[role] for role in ('amount', 'refunded')
                        if role in layout.columns]

    def look(self, columns):
        """Looks at rows that were turned to columns."""
        dates = columns[self.dates]
        starts = set(map(STARTS, dates))
        self.starts |= starts if ''.join(starts)[:1].isdigit() else set(map(start_of, dates))
        self.timed = self.timed or ':' in dates[0] or ':' in ''.join(dates)
        for at in self.amounts:
            self.look_at_amounts(columns[at])

    def look_at_amounts(self, column):
        texts = '\n'.join(column)
        if are_plain(column):
            self.shapes['9.9'] += texts.count('.')
            return
        if len(texts) > 60 * len(column):
            texts = '\n'.join(text[:40] for text in column)
        self.shapes.update(texts.translate(DIGITS).split('\n'))

    def look_at_ragged(self, rows):
        """Looks at rows of which some may be too short."""
        width = max(self.dates, *self.amounts) + 1
        rows = [row[:width] for row in rows if len(row) >= width]
        if rows:
            self.look(list(zip(*rows)))

    def judge(self, options, delimiter):
        """Returns all that a survey decides."""
        amounts, order = Amounts(options, self.shapes, delimiter), DayOrder(options, self.starts)
        return Judgement(amounts, order, self.timed)


class Judgement:
    """How the dates and amounts of a file are written."""

    def __init__(self, amounts, order, timed):
        self.amounts, self.order, self.timed = amounts, order, timed

    def same(self, other):
        """Tells whether all rows would be read in the same way."""
        return self.decided() == other.decided()

    def decided(self):
        orders = {mark: (self.order.of(mark), self.order.certain(mark)) for mark in './-'}
        return self.amounts.mark, self.amounts.certain, orders, self.timed
