"""Which rows count, and as what: not totals, further lines, cancelled orders."""

from collections import Counter

from .cache import Cache
from .report import counted, remark, shorten
from .words import KIND_WORDS, STATUS_WORDS, is_total_word, plain_word, says_no

KEYS = ('customer_id', 'order_id', 'ordered_at')


class Rules:
    """Tells which rows count, and as what."""

    def __init__(self, layout, faults, options):
        self.layout, self.faults, self.options = layout, faults, options
        self.at = layout.columns
        self.width = len(layout.header)
        self.left_out = Counter()
        self.unknown = set()
        self.negatives = 0
        self.previous = None
        self.meanings = {role: Cache(self.meaning_of(role, words))
                         for role, words in (('kind', KIND_WORDS), ('status', STATUS_WORDS))
                         if role in self.at}
        self.flags = [role for role in ('cancelled', 'test') if role in self.at]
        self.all_count = not (self.meanings or self.flags or layout.per_order)

    def meaning_of(self, role, words):
        """Makes the function that tells what a word of a column means."""
        known = {word: kind for kind, all_words in words.items() for word in all_words.split('|')}
        known.update(self.options.kinds)
        event = self.layout.preset.get('events')

        def meaning(text):
            word = plain_word(text)
            if role == 'kind' and event and word not in {event, *self.options.kinds}:
                return 'none'
            return 'order' if role == 'kind' and not word else known.get(word)
        return meaning

    def field(self, row, role):
        column = self.at.get(role)
        return '' if column is None or column >= len(row) else row[column].strip()

    def fits(self, line, row):
        """Tells whether a row can be an order that has not all keys, or not all columns."""
        if not any(map(str.strip, row)):
            return False
        if self.is_total(row):
            self.left_out['with a total'] += 1
            return False
        if len(row) != self.width and any(row[self.width:] or [True]):
            self.faults.add(line, None, None, f'has {counted(len(row), "column")}, and the header '
                            f'{self.width}: quote what has the delimiter in it')
            return False
        if not any(self.field(row, role) for role in (*KEYS, 'amount')):
            self.left_out['without customer, time and amount'] += 1
            return False
        return True

    def is_total(self, row):
        """Tells a row of totals: it says so, or has an amount of no customer, order and time."""
        if any(map(is_total_word, row)):
            no_order = 'order_id' in self.at and not self.field(row, 'order_id')
            return no_order or not self.field(row, 'ordered_at')
        return self.field(row, 'amount') != '' and not any(self.field(row, role) for role in KEYS)

    def is_header(self, row):
        """Tells the header again, as where files were joined."""
        names = [name.replace('\ufeff', '').strip() for name in row]
        return names == [name.strip() for name in self.layout.header]

    def kind_of(self, line, row):
        """Returns order or refund, or None for what does not count."""
        if self.layout.per_order and self.is_line(row):
            self.left_out['with a further line of an order, without a total'] += 1
            return None
        kind = self.read_words(line, row)
        for role in self.flags if kind else ():
            if not says_no(self.field(row, role)):
                self.left_out[f'with {self.layout.header[self.at[role]]}'] += 1
                return None
        return kind

    def all_orders(self, columns):
        """Tells whether all rows of these columns are plain orders."""
        if self.layout.per_order and '' in columns[self.at['amount']]:
            return False
        return all(meanings[word] == 'order' for role, meanings in self.meanings.items()
                   for word in set(columns[self.at[role]])) and \
            all(says_no(value) for role in self.flags for value in set(columns[self.at[role]]))

    def is_line(self, row):
        """Tells a further row of an order whose first has the total: Shopify's way."""
        order, previous = self.field(row, 'order_id'), self.previous
        self.previous = order
        return order != '' and order == previous and self.field(row, 'amount') == ''

    def read_words(self, line, row):
        kind = 'order'
        for role, meanings in self.meanings.items():
            word = row[self.at[role]]
            meaning = meanings[word]
            if meaning is None:
                self.report_word(line, role, word.strip(), row)
                return None
            if meaning == 'none':
                self.left_out[f'of the {role} {shorten(word.strip())}'] += 1
                return None
            kind = meaning if role == 'kind' or meaning == 'refund' else kind
        return kind

    def report_word(self, line, role, word, row):
        """Reports each unknown word once."""
        if self.is_header(row):
            self.left_out['with the header again'] += 1
        elif word not in self.unknown or len(self.unknown) >= 1000:
            self.unknown.add(word)
            self.faults.add(line, self.layout.header[self.at[role]], word,
                            f"is no {role} that is known; write KINDS='{word[:60]}=order' "
                            f"(or =refund, =none), or MAP='{role}=' if the column "
                            'is not about that')

    def negative(self, kind):
        """Counts an amount below zero; returns what it makes of a kind."""
        self.negatives += kind == 'order'
        return 'refund'

    def describe(self):
        if self.negatives:
            remark(f'{counted(self.negatives, "negative amount")}: read as refunds.')
        for what, number in self.left_out.most_common(10):
            remark(f'Left out: {counted(number, "row")} {what}.')
