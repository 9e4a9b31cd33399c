#!/usr/bin/env python3
"""Prints which rooms of sql/ and src/ use which others.

Fails where an arrow goes up, or the drawing in ARCHITECTURE.md is another one. The rooms of sql/
are ordered as sql/parts lists them, those of src/ by SOURCE_ROOMS. A file uses another where it
names a function, a procedure, a view, a table or a type that is made there, or includes its header.
"scripts/rooms.py -v" prints the names that make each arrow, "--draw" writes the drawing.
"""

import pathlib
import re
import sys
import textwrap
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE_ROOMS = ['math', 'template', '.', 'values', 'base', 'toolkit', 'rows', 'collector', 'engine']
# What a lower room says to a higher one, and does not wait for an answer: somebody has changed, and
# why; and the one lock that numbers of events and of the queue are drawn under.
SIGNALS = {'_flows_run', '_note_changed', 'changed_customers', '_lock_queue'}
MADE = re.compile(
    r'^CREATE (?:OR REPLACE )?(?:UNLOGGED )?'
    r'(?:FUNCTION|PROCEDURE|AGGREGATE|VIEW|TABLE|TYPE) retention\.(\w+)', re.MULTILINE)
NAMED = re.compile(r"\bretention\.(\w+)")
INCLUDED = re.compile(r'^#include "((?:\w+/)?\w+\.h)"', re.MULTILINE)


def room_of(path):
    """Tells the room of a file: its folder, or its own name where it lies in none."""
    return path.parent.name if path.parent.name != 'sql' else path.stem


def sql_files():
    """Lists the files of the install script, in their order."""
    return [ROOT / 'sql' / line for line in (ROOT / 'sql/parts').read_text().split()]


def code_of(text):
    """Drops comments, what COMMENT statements say, and texts that are sentences or give advice."""
    text = re.sub(r'^COMMENT ON .*?;$', '', text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'--[^\n]*', '', text)
    return re.sub(r"'(?:[^']|'')*'",
                  lambda m: '' if re.search(r"[.;]'$|; |: ", m[0]) else m[0], text)


def sql_arrows():
    """Yields (room, other room, name) for each name that a file of another room makes."""
    texts = {path: code_of(path.read_text()) for path in sql_files()}
    makers = defaultdict(set)
    for path, text in texts.items():
        for name in MADE.findall(text):
            makers[name].add(room_of(path))
    for path, text in texts.items():
        for name in set(NAMED.findall(text)):
            if room_of(path) not in makers[name]:
                # A name that several rooms make, by its overloads, is the lowest one's.
                for other in sorted(makers[name])[:1]:
                    yield room_of(path), other, name


def source_arrows():
    """Yields (room, other room, header) for each header that is included from another room."""
    for path in sorted((ROOT / 'src').rglob('*.[ch]')):
        room = path.parent.name if path.parent.name != 'src' else '.'
        for header in INCLUDED.findall(path.read_text()):
            if (ROOT / 'src' / header).exists():
                other = header.split('/')[0] if '/' in header else '.'
                if other != room:
                    yield room, other, header


def names_of(arrows):
    """Collects the names that make each arrow."""
    names = defaultdict(set)
    for room, other, name in arrows:
        names[room, other].add(name)
    return names


def drawing(order, names):
    """Draws each room with those that it uses, without those that only hear signals."""
    for room in order:
        used = [other for other in order if names.get((room, other), set()) - SIGNALS]
        line = f"{room:12} uses {', '.join(used) or 'nothing'}"
        yield from textwrap.wrap(line, 96, subsequent_indent=' ' * 18)


def upward(order, names):
    """Yields the arrows that go up, with the names that make them."""
    for (room, other), used in sorted(names.items()):
        if order.index(other) > order.index(room) and used - SIGNALS:
            yield f"{room} -> {other}: {', '.join(sorted(used - SIGNALS))}"


def main():
    """Prints both sides; fails where an arrow goes up or the drawing is out of date."""
    order = list(dict.fromkeys(room_of(path) for path in sql_files()))
    sides = [('sql', order, names_of(sql_arrows())),
             ('src', SOURCE_ROOMS, names_of(source_arrows()))]
    drawn = '\n'.join(f'{title}\n  ' + '\n  '.join(drawing(order, names))
                      for title, order, names in sides)
    print(drawn)
    if '-v' in sys.argv[1:]:
        for _, _, names in sides:
            for (room, other), used in sorted(names.items()):
                print(f"{room} -> {other}: {', '.join(sorted(used))}")
    page = ROOT / 'ARCHITECTURE.md'
    text = page.read_text()
    start, end = text.index('```rooms\n') + 9, text.index('\n```\n<!-- rooms')
    if '--draw' in sys.argv[1:]:
        page.write_text(text[:start] + drawn + text[end:])
    faults = [f'goes up: {arrow}' for _, order, names in sides for arrow in upward(order, names)]
    if '--draw' not in sys.argv[1:] and text[start:end] != drawn:
        faults.append('ARCHITECTURE.md draws other arrows: scripts/rooms.py --draw')
    print('\n'.join(faults), end='\n' if faults else '', file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
