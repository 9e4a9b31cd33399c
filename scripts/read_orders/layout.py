"""Which column has what, below which delimiter and in which row the names are."""

import re
from itertools import islice

from .file import number_rows
from .report import Refusal, remark
from .words import NAMES, PRESETS, REQUIRED, plain_name

LONGEST_NAME = 200
ROWS_ABOVE = 30     # where the header is sought, below titles of a report


class Layout:
    """Which column has what."""

    def __init__(self, header, options, line=1):
        self.header, self.options, self.line = header, options, line
        names = [name[:LONGEST_NAME] for name in header]
        self.plain = [plain_name(name) for name in names]
        self.bare = [plain_name(re.sub(r'\(.*?\)|\[.*?\]', '', name)) for name in names]
        self.preset = next((preset for preset in PRESETS
                            if set(preset['needs'].split()) <= set(self.plain)), {})
        self.others = {}
        self.columns = self.all_columns = self.find_columns()
        self.per_order = self.preset.get('per_order', False)
        if options.rows:
            self.per_order = options.rows == 'ORDERS'

    def find_columns(self):
        named = self.preset.get('columns') or NAMES
        columns = {role: self.find(role, names.split()) for role, names in named.items()}
        columns.update((role, self.find_mapped(role, name))
                       for role, name in self.options.columns.items())
        columns = {role: column for role, column in columns.items() if column is not None}
        if columns.get('time') == columns.get('ordered_at'):
            columns.pop('time', None)
        return columns

    def find(self, role, names):
        """Finds the first of these names among the columns, and notes what else it could be."""
        if role in self.options.columns:
            return None
        plain = self.plain if any(name in self.plain for name in names) else self.bare
        found = [name for name in names if name in plain]
        if not found:
            return None
        if plain.count(found[0]) > 1:
            first, second = (self.header[at] for at, name in enumerate(plain) if name == found[0])
            raise Refusal(f'has two columns {first!r}'
                          + (f' and {second!r}' if first != second else '')
                          + f"; name the others differently, or MAP='{role}=...' another")
        if len(found) > 1 and not self.preset:
            self.others[role] = [self.header[plain.index(name)] for name in found[1:]]
        return plain.index(found[0])

    def find_mapped(self, role, name):
        if not name:
            return None
        for names, wanted in ((self.header, name), (self.plain, plain_name(name))):
            if names.count(wanted) > 1:
                raise Refusal(f'has two columns {name!r}, which MAP names')
            if wanted in names:
                return names.index(wanted)
        raise Refusal(f'has no column {name!r}, which MAP names. {self.shown()}')

    def use_time(self, used):
        """Uses a column of times, or not, for dates have a time."""
        self.columns = dict(self.all_columns)
        if not used and 'time' in self.columns:
            self.others['the time'] = [self.header[self.columns.pop('time')]]
            self.columns.pop('zone', None)

    def shown(self):
        where = 'Its first line' if self.line == 1 else f'Line {self.line}'
        return f"{where} is: {', '.join(self.header)[:500]}"

    def found(self):
        """Counts the columns that are found of those that must be there."""
        return sum(role in self.columns for role in REQUIRED)

    def check(self):
        missing = [role for role in REQUIRED if role not in self.columns]
        if missing:
            example = ','.join(f'{role}=<its name>' for role in missing)
            raise Refusal(f"has no column that is known as {' or '.join(missing)}. "
                          f"Write MAP='{example}'. {self.shown()}")

    def describe(self):
        """Says which columns were taken, unless they have our names."""
        if self.above:
            remark(f'The names of the columns are in line {self.line}; what is above is left out.')
        taken = [f'{role} is {self.header[column]!r}' for role, column in self.columns.items()
                 if self.header[column].strip().lower() != role]
        if self.preset:
            name = self.preset['name']
            remark(f'These are {name}.' if name.endswith('events') else f'This is a {name}.')
        if taken:
            remark(f"Columns: {', '.join(taken)}. MAP='role=name,...' takes others.")
        for role, names in self.others.items():
            remark(f"Not used for {role}: {', '.join(names)}.")


def find_layout(file, options):
    """Finds the delimiter, and the row, with which most is recognised."""
    if not file.header_text().strip('\ufeff \t\r\n'):
        raise Refusal('is empty; it should have a header and a row for each order')
    found = []
    for mark in [file.delimiter] if file.delimiter else [',', ';', '\t', '|']:
        file.delimiter = mark
        found.append(find_header(file, options) + (mark,))
    _, _, layout, file.delimiter = max(found, key=lambda each: each[:2])
    if isinstance(layout, Refusal):
        raise layout
    layout.check()
    return layout


def find_header(file, options):
    """Finds the row with all names, or else takes the first; tells what it has, and its width."""
    first = None
    for line, row in islice(file.quiet_rows(), ROWS_ABOVE):
        row = [name.replace('\ufeff', '').replace('ï»¿', '') for name in row]
        if not any(map(str.strip, row)):
            continue
        found = judge(row, line, options)
        if found[0] == len(REQUIRED):
            found[2].above = first is not None
            return found
        first = first or found
    return first or (-1, 0, Refusal('has no row that could be read'))


def judge(row, line, options):
    """Tries a row as the header; a refusal is as good as a layout unless it has one field."""
    try:
        layout = Layout(row, options, line)
        layout.above = False
        return layout.found(), len(row), layout
    except Refusal as refusal:
        return (-1 if len(row) == 1 else 2), len(row), refusal


def data_batches(file, layout):
    """Yields the rows below the header by the thousand, with the number of the first line."""
    for line, rows in file.batches():
        if line <= layout.line:
            below = [(line, row) for line, row in number_rows(line, rows) if line > layout.line]
            line, rows = below[0][0] if below else 0, [row for _, row in below]
        if rows:
            yield line, rows


def data_rows(rows, layout):
    """Yields the rows below the header."""
    return ((line, row) for line, row in rows if line > layout.line)
