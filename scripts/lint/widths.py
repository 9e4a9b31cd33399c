#!/usr/bin/env python3
"""Prints the lines that are wider than 100 columns, a tab counted as 4.

Of sql/, C, shell, Python, Makefiles and Markdown. tests/sql and expected/ are exempt, for what the
tests print echoes their statements, so that neither can be wrapped without the other. In Markdown,
tables and what a program has printed (blocks marked text, and what is generated) are as wide as
they are.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WIDEST = 100
ENDINGS = {'.c', '.h', '.sh', '.py', '.md'}
BUILT = {'build', 'results', 'output_iso', 'tmp_check', '.git', '__pycache__'}
FENCE = re.compile(r'\s*```(\w*)')


def is_shell(path):
    """Tells whether a file without an ending is a script."""
    with open(path, 'rb') as file:
        return re.match(rb'#!.*(sh|python3)\n', file.readline()) is not None


def is_measured(path):
    """Tells whether a file's lines have to fit."""
    parts = path.relative_to(ROOT).parts
    if BUILT.intersection(parts) or parts[0] == 'expected' or parts[:2] == ('tests', 'sql'):
        return False
    if path.suffix == '.sql':
        return parts[0] == 'sql' and parts[1] != 'released'
    return (path.suffix in ENDINGS or path.name == 'Makefile'
            or path.suffix == '' and is_shell(path))


def lines_of(path):
    """Yields the numbers and texts of the lines that have to fit."""
    fence = None
    generated = False
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if path.suffix == '.md':
            if mark := FENCE.match(line):
                fence = mark[1] if fence is None else None
            generated = line.startswith('<!-- generated') or generated and not line.startswith(
                '<!-- end of generated')
            if generated or fence == 'text' or fence is None and line.startswith('|'):
                continue
        yield number, line


def main():
    """Looks through the checkout."""
    for path in sorted(path for path in ROOT.rglob('*') if path.is_file() and is_measured(path)):
        for number, line in lines_of(path):
            width = len(line.expandtabs(4))
            if width > WIDEST:
                place = f'{path.relative_to(ROOT)}:{number}'
                print(f'{place}: {width} columns: {line.strip()[:40]}')


if __name__ == '__main__':
    main()
