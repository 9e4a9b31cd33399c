#!/usr/bin/env python3
"""Prints findings but for the exceptions, counts them, and fails where there are any.

Reads lines "check file:line: what". A line of scripts/lint/exceptions is a check, a pattern that
"file: what", without the line, has to match, and behind " -- " the reason why that stays. One that
matches nothing any more is a finding itself, unless its check, an argument, was skipped.
"""

import pathlib
import re
import sys

EXCEPTIONS = pathlib.Path(__file__).resolve().parent / 'exceptions'


class Exempt:
    """A line of the list of exceptions."""

    def __init__(self, number, line):
        rule, _, self.reason = line.partition(' -- ')
        self.number = number
        self.check, _, pattern = rule.strip().partition(' ')
        self.pattern = re.compile(pattern.strip())
        self.matches = 0

    def covers(self, check, place, what):
        """Tells whether a finding is excepted, and remembers that one was."""
        if check != self.check or not self.reason:
            return False
        found = self.pattern.search(f'{place}: {what}') is not None
        self.matches += found
        return found


def read_exceptions():
    """Reads the list, without its comments."""
    lines = EXCEPTIONS.read_text(encoding='utf-8').splitlines()
    return [Exempt(number, line) for number, line in enumerate(lines, 1)
            if line.strip() and not line.startswith('#')]


def main():
    """Filters standard input."""
    exempt = read_exceptions()
    found = set()
    for line in sys.stdin:
        check, _, finding = line.rstrip('\n').partition(' ')
        place, number, what = (finding.split(':', 2) + ['', ''])[:3]
        covered = [rule.covers(check, place, what.strip()) for rule in exempt]
        if not any(covered):
            number = int(number) if number.isdigit() else 1
            found.add((place, number, f'{what.strip() or finding} ({check})'))
    for rule in exempt:
        if not rule.matches and rule.check not in sys.argv[1:]:
            what = 'matches nothing any more' if rule.reason else 'has no reason'
            found.add(('scripts/lint/exceptions', rule.number, what))
    for place, number, what in sorted(found):
        print(f'{place}:{number}: {what}')
    print(f'{len(found)} findings')
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
