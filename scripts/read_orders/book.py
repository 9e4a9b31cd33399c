"""The orders once each, written, counted and added."""

import csv
from decimal import Decimal
from itertools import repeat

from .report import counted, money, remark


class Repeated(Exception):
    """Says that an order came again, and that rows must be kept to compare them."""


class Book:
    """Writes orders, each once, and knows their sums."""

    def __init__(self, layout, rules, output, compares):
        self.layout, self.rules = layout, rules
        self.per_order, self.has_order = layout.per_order, 'order_id' in layout.columns
        self.output = output
        self.writer = csv.writer(output, lineterminator='\n')
        self.compares = compares            # whether orders may come again
        self.seen = {} if compares else set()   # hashes of orders, each with its row's
        self.more = set()                   # hashes of their other rows
        self.further = 0                    # further rows of orders
        self.without_order = 0
        self.customers = set()
        self.first = self.last = ''         # times
        self.counts = {'order': 0, 'refund': 0}
        self.sums = {'order': Decimal(0), 'refund': Decimal(0)}

    def add(self, line, row, values, refunded):
        """Writes an order, unless it was there; and what of it was refunded."""
        customer, order, when, amount, kind = values
        if order:
            if self.per_order:
                key, mine = (order, kind), (customer, when, amount.text)
            else:
                key, mine = (customer, order, kind), tuple(row)
            if not self.are_new([key], [mine]) and self.is_repeated(line, key, mine, values):
                return
        elif self.has_order:
            self.without_order += 1
        self.emit(values)
        if refunded and refunded.number and kind == 'order':
            self.emit((customer, order, when, abs(refunded), 'refund'))

    def add_all(self, rows, customers, orders, whens, texts, numbers):
        """Writes many orders, none refunded, if no order is there twice; or returns False."""
        if self.per_order:
            keys, mine = zip(orders, repeat('order')), zip(customers, whens, texts)
        else:
            keys, mine = zip(customers, orders, repeat('order')), map(tuple, rows)
        if self.has_order and not self.are_new(keys, mine):
            return False
        self.write_all(list(zip(customers, orders, whens, texts, repeat('order'))))
        self.customers.update(customers)
        self.note_days(min(whens), max(whens))
        self.counts['order'] += len(rows)
        self.sums['order'] += sum(numbers)
        return True

    def are_new(self, keys, mine):
        """Notes that orders were seen, unless one was before."""
        keys = list(map(hash, keys))
        wanted = len(self.seen) + len(keys)
        if not self.compares:
            self.seen.update(keys)
            if len(self.seen) < wanted:
                raise Repeated
            return True
        mine = list(map(hash, mine))
        noted = list(map(self.seen.setdefault, keys, mine))
        if len(self.seen) == wanted:
            return True
        for key, first, own in zip(keys, noted, mine):
            if first is own:
                del self.seen[key]
        return False

    def write_all(self, orders):
        """Writes orders as they are if no field needs quotes."""
        text = '\n'.join(map(','.join, orders)) + '\n'
        marks = text.count(','), text.count('\n'), text.count('"') + text.count('\r')
        if marks == (4 * len(orders), len(orders), 0):
            self.output.write(text)
        else:
            self.writer.writerows(orders)

    def note_days(self, first, last):
        self.first, self.last = min(self.first or first, first), max(self.last, last)

    def is_repeated(self, line, key, mine, values):
        """Tells whether an order was there, and is no further line of one."""
        key, mine = hash(key), hash(mine)
        if self.seen[key] == mine or mine in self.more:
            self.rules.left_out['with the same order again (the same order id and values)'] += 1
            return True
        if self.per_order:
            column = self.layout.header[self.layout.columns['order_id']]
            self.rules.faults.add(
                line, column, values[1], 'is an order that was there with another customer, time '
                'or amount; correct it, or write ROWS=lines if they add up')
            return True
        self.more.add(mine)
        self.further += values[4] == 'order'
        return False

    def emit(self, values):
        customer, order, when, amount, kind = values
        self.writer.writerow((customer, order, when, amount.text, kind))
        self.customers.add(customer)
        self.note_days(when, when)
        self.counts[kind] += 1
        self.sums[kind] += amount.number

    def describe(self):
        self.rules.describe()
        if self.more:
            remark(f'{counted(len(self.more), "row")} have the order id of a row above and other '
                   'values: they are lines of one order, and add up. '
                   'ROWS=orders: each has the whole amount, which counts once.')
        if not self.has_order:
            remark('There is no order id: every row is an order, and equal rows count each.')
        elif self.without_order:
            remark(f'{counted(self.without_order, "row")} without an order id: each is an order.')
        if '0' in self.customers:
            remark("'0' was read as a customer like others; if it stands for guests, "
                   'leave its rows out.')

    def summary(self):
        orders = self.counts['order'] - self.further
        text = f'{counted(orders, "order")} of {counted(len(self.customers), "customer")}, ' \
               f'{money(self.sums["order"])} in sum'
        if self.counts['refund']:
            refunds = counted(self.counts['refund'], 'refund')
            text += f', and {refunds}, {money(self.sums["refund"])}'
        return f'{text}; from {self.first[:10]} to {self.last[:10]}'
