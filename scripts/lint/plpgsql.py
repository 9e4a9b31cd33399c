#!/usr/bin/env python3
"""Tells the file and the line of what plpgsql_check has found in a function, from its body."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def main():
    """Reads findings of plpgsql.sql from standard input."""
    texts = {path: path.read_text(encoding='utf-8')
             for path in sorted((ROOT / 'sql').rglob('*.sql'))
             if not {'released', 'upgrades'}.intersection(path.parts)}
    for line in filter(str.strip, sys.stdin):
        finding = json.loads(line)
        path = next((path for path, text in texts.items() if finding['body'] in text), None)
        place, number = 'sql', finding['line']
        if path is not None:
            place = path.relative_to(ROOT)
            number += texts[path].split(finding['body'])[0].count('\n')
        what = finding['what'].replace('\n', ' ')
        print(f"{place}:{number}: {finding['name']}: {what}")


if __name__ == '__main__':
    main()
