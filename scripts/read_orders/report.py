"""What is said: remarks, faults with their line, column and value, and refusals."""

import sys

FAULTS_SHOWN = 20


class Refusal(Exception):
    """Says why a file is not read at all."""


def remark(text):
    print(text, file=sys.stderr)


def shorten(value):
    """Shows a value on one line, and not all of a long one."""
    text = repr(value[:60])
    return text if len(value) <= 60 else f'{text}... ({len(value)} characters)'


def counted(number, what):
    """Writes a number with its noun: 1 row, 2 rows."""
    return f'{number:,} {what}' + ('' if number == 1 else 's')


def money(amount):
    return f'{amount:,.2f}' if amount == round(amount, 2) else f'{amount:,}'


class Faults:
    """Collects what is wrong, to show it all at once."""

    def __init__(self):
        self.shown = []
        self.number = 0

    def copy(self):
        faults = Faults()
        faults.shown, faults.number = list(self.shown), self.number
        return faults

    def add(self, line, column, value, what):
        self.number += 1
        if len(self.shown) < FAULTS_SHOWN:
            where = f'line {line}' + (f', column {column!r}' if column else '')
            value = '' if value is None else f'{shorten(value)} '
            self.shown.append(f'{where}: {value}{what}')

    def refuse(self):
        """Ends the reading if anything was wrong."""
        if not self.number:
            return
        rest = self.number - len(self.shown)
        lines = [f'{counted(self.number, "fault")}; nothing was read:']
        lines += ['  ' + shown for shown in self.shown]
        lines += [f'  and {rest:,} more'] if rest else []
        raise Refusal('\n'.join(lines))
