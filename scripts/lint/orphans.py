#!/usr/bin/env python3
"""Prints what nobody uses or nothing leads to, and names in pages that lead nowhere.

Reads from standard input what there is: a line for each name, its kind in front (names.sql, and the
symbols of the objects).

- files of sql/ that sql/parts does not list; expectations without a test; files of examples/,
  bench/, scripts/ and tests/include that nothing mentions
- pages that no link leads to from README.md, and links that lead nowhere
- internal functions of SQL that nothing calls; functions of C that SQL could call and does not, or
  that are not static though nobody else uses them; access levels of functions that are not there
- functions, tables, columns and files in pages that are not there
"""

import pathlib
import re
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILT = {'build', 'results', 'output_iso', 'tmp_check', '.git', '__pycache__'}
# What has been, or is about another project's names.
HISTORY = {'CHANGELOG.md'}
LINK = re.compile(r'\]\(([^)\s]*)\)')
CODE = re.compile(r'`([^`\n]+)`')
PLACE = re.compile(r'^(?:docs|src|sql|scripts|tests|examples|bench|expected|\.ci)/[\w./*-]+$')
CALL = re.compile(r'^(?:CALL |SELECT )?(?:retention\.)?(\w+)\(')
NAME = re.compile(r'\bretention\.(\w+)')
MADE = re.compile(r'^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) retention\.(\w+)', re.MULTILINE)
# What looks like a call in pages, and is none of ours.
FOREIGN = {'CHECK', 'INCLUDE', 'numeric', 'varchar', 'char', 'VALUES', 'IN', 'ANY', 'EXISTS',
           'LIKE', 'FOR', 'coalesce', 'greatest', 'least', 'nullif', 'extract', 'COUNT', 'SUM',
           'TABLE', 'int'}


def text_of(path):
    """Reads a file, or nothing of what is no text."""
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError:
        return ''


def line_of(text, offset):
    """Tells the number of the line that an offset lies in."""
    return text.count('\n', 0, offset) + 1


class Checkout:
    """The files, their texts, and the names that there are."""

    def __init__(self, names):
        self.texts = {
            str(path.relative_to(ROOT)): text_of(path) for path in sorted(ROOT.rglob('*'))
            if path.is_file() and not BUILT.intersection(path.relative_to(ROOT).parts)}
        self.names = defaultdict(set)
        for line in names:
            kind, _, name = line.strip().partition(' ')
            self.names[kind].add(name)

    def under(self, folder, ending=''):
        """Lists the files of a folder."""
        return [path for path in self.texts if path.startswith(folder) and path.endswith(ending)]

    def say(self, path, offset, what):
        """Prints a finding."""
        print(f"{path}:{line_of(self.texts.get(path, ''), offset)}: {what}")


def check_lists(checkout):
    """Finds files that are in no list, and the other way round."""
    listed = ['sql/' + line for line in checkout.texts['sql/parts'].split()]
    for path in checkout.under('sql/', '.sql'):
        # What installs older versions, and what leads from one to the next.
        if path not in listed and not path.startswith(('sql/released/', 'sql/upgrades/')):
            checkout.say(path, 0, 'is not in sql/parts')
    for path in listed:
        if path not in checkout.texts:
            checkout.say('sql/parts', 0, f'{path} is not there')
    for path in checkout.under('expected/'):
        name = re.sub(r'(_\d+)?\.out$', '', path.split('/')[1])
        if not any(f'{test}{name}.{ending}' in checkout.texts for test, ending in
                   (('tests/sql/', 'sql'), ('tests/specs/', 'spec'))):
            checkout.say(path, 0, 'belongs to no test')


def check_mentions(checkout):
    """Finds files that are for others to use, and that nothing mentions by name."""
    for folder in ('examples/', 'bench/', 'scripts/', 'tests/include/', 'tests/oracle/'):
        for path in checkout.under(folder):
            name = pathlib.PurePath(path).name
            words = {name, name.removesuffix('.py')} if name.endswith('.py') else {name}
            if path.startswith('tests/include/'):
                words.add(f"'{name.removesuffix('.sql')}'")
            if name.startswith('__'):
                continue
            if path.startswith('bench/'):
                words.add(name.removesuffix('.sql'))
            named = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, words))})(?!\w)")
            if not any(named.search(text) for other, text in checkout.texts.items()
                       if other != path and not other.startswith('expected/')):
                checkout.say(path, 0, 'nothing mentions it')


def anchors_of(text):
    """Lists the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def check_links(checkout):
    """Finds links that lead nowhere, and pages that no link leads to."""
    reached = set()
    waiting = ['README.md']
    while waiting:
        page = waiting.pop()
        if page in reached or page not in checkout.texts:
            continue
        reached.add(page)
        text = checkout.texts[page]
        for link in LINK.finditer(text) if page.endswith('.md') else ():
            target, _, anchor = link[1].partition('#')
            if re.match(r'\w+:', target):
                continue
            path = (ROOT / page).parent / target if target else ROOT / page
            path = str(path.resolve().relative_to(ROOT))
            if path not in checkout.texts and not (ROOT / path).is_dir():
                checkout.say(page, link.start(), f'the link leads to {link[1]}, which is not there')
            elif anchor and anchor not in anchors_of(checkout.texts.get(path, '')):
                checkout.say(page, link.start(), f'{path} has no heading #{anchor}')
            waiting.append(path)
    for path in checkout.texts:
        if path.endswith('.md') and path not in reached and not path.startswith('.'):
            checkout.say(path, 0, 'no link leads here from README.md')


def without_comments(text):
    """Drops comments, and what COMMENT statements say."""
    text = re.sub(r'^COMMENT ON .*?;$', '', text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r'--[^\n]*', '', text)


def check_sql_functions(checkout):
    """Finds internal functions that nothing names but they themselves, and levels of none."""
    code = '\n'.join(without_comments(checkout.texts[path])
                     for path in checkout.under('sql/', '.sql'))
    code += '\n'.join(checkout.texts[path] for path in checkout.under('src/'))
    # The statement that makes a function ends where the next one begins.
    statements = re.split(r'^(?=CREATE )', code, flags=re.MULTILINE)
    users = defaultdict(int)
    for statement in statements:
        made = MADE.match(statement)
        for name in set(NAME.findall(statement)):
            users[name] += not made or made[1] != name
    for path in checkout.under('sql/', '.sql'):
        for made in MADE.finditer(checkout.texts[path]):
            name = made[1]
            if not (users[name] or name in checkout.names['called'] | checkout.names['public']):
                checkout.say(path, made.start(), f'nothing calls {name}')
    levels = checkout.texts['sql/access.sql']
    levels = levels[:levels.index('COMMENT ON')]
    for name in re.finditer(r"'(\w+)'", levels):
        if name[1] != '_' and name[1] not in checkout.names['function']:
            checkout.say('sql/access.sql', name.start(), f'there is no function {name[1]}')


def check_c_functions(checkout):
    """Finds functions of C that nobody else uses."""
    used = defaultdict(set)
    for entry in checkout.names['symbol_U']:
        path, _, symbol = entry.partition(' ')
        used[symbol].add(path)
    tests = '\n'.join(checkout.texts[path] for path in checkout.under('tests/', '.c'))
    tests += '\n'.join(checkout.texts[path] for path in checkout.under('tests/', '.h'))
    for entry in sorted(checkout.names['symbol_T']):
        path, _, symbol = entry.partition(' ')
        if symbol.startswith(('pg_finfo_', '_PG_', 'Pg_magic_func')) or used[symbol]:
            continue
        found = re.search(rf'^{symbol}\(', checkout.texts.get(path, ''), re.MULTILINE)
        offset = found.start() if found else 0
        if f'pg_finfo_{symbol}' in {other.split()[1] for other in checkout.names['symbol_T']}:
            if symbol not in checkout.names['c_function']:
                checkout.say(path, offset, f'no statement of SQL calls {symbol}')
        elif not re.search(rf'\b{symbol}\b', tests):
            checkout.say(path, offset, f'{symbol} could be static: nobody else uses it')


def is_there(place):
    """Tells whether a path, which may be a pattern, leads to a file or a folder."""
    place = place.rstrip('/.')
    return any(ROOT.glob(place)) if '*' in place else (ROOT / place).exists()


def check_names(checkout):
    """Finds names in pages that lead nowhere."""
    names = checkout.names
    ours = names['function'] | names['relation'] | names['type'] | names['setting']
    callable_ = names['function'] | names['builtin'] | names['column'] | FOREIGN
    made = re.compile(
        r'CREATE (?:OR REPLACE )?(?:\w+ )?(?:VIEW|TABLE|FUNCTION) (?:\w+\.)?(\w+)')
    local = set(made.findall('\n'.join(checkout.texts.values())))
    for path in checkout.texts:
        if not path.endswith('.md') or path in HISTORY or path.startswith('tests/'):
            continue
        text = checkout.texts[path]
        for name in NAME.finditer(text):
            if name[1] not in ours | local | {'control', 'so'}:
                checkout.say(path, name.start(), f'there is no retention.{name[1]}')
        # Code in the text itself, not in blocks, which the tests run.
        prose = re.sub(r'^```.*?^```', lambda m: re.sub(r'[^\n]', ' ', m[0]), text,
                       flags=re.MULTILINE | re.DOTALL)
        for code in CODE.finditer(prose):
            # NAME stands for any name.
            if (PLACE.match(code[1]) and not re.search('[A-Z]{4}', code[1])
                    and not is_there(code[1])):
                checkout.say(path, code.start(), f'there is no file {code[1]}')
            call = CALL.match(code[1])
            if call and call[1] not in callable_ | local:
                checkout.say(path, code.start(), f'there is no function {call[1]}')


def main():
    """Looks through the checkout."""
    checkout = Checkout(sys.stdin)
    for check in (check_lists, check_mentions, check_links, check_sql_functions,
                  check_c_functions, check_names):
        check(checkout)


if __name__ == '__main__':
    main()
