#!/usr/bin/env python3
"""Reads a file of orders as shops export them; writes it in one form, to stdout, and remarks to stderr.

    read_orders.py orders.csv[.gz] >canonical.csv          - is the standard input

The form: UTF-8, commas, and the columns customer_id, order_id, ordered_at, amount, kind (order or refund).
Nothing is written before all of the file has been checked. See docs/order_files.md for what is recognised.
The environment has what is not:

    MAP='customer_id=Email,amount=Total'    columns by name; 'status=' means that there is none
    KINDS='Kauf=order,Retoure=refund,lost=none'    what words in the columns kind and status mean
    DATES=DMY|MDY|YMD   DECIMALS=point|comma   ROWS=lines|orders   DELIMITER=';'   ENCODING=cp1252

Exit status 1: the file cannot be read, or not without doubt; the remarks say where and what to do.
"""

import codecs
import csv
import datetime
import gc
import gzip
import io
import os
import re
import shutil
import stat
import sys
import tempfile
import unicodedata
import zlib
from collections import Counter
from decimal import Decimal, localcontext

CANONICAL = ('customer_id', 'order_id', 'ordered_at', 'amount', 'kind')
REQUIRED = ('customer_id', 'ordered_at', 'amount')
FAULTS_SHOWN = 20

# The names that columns have, those to prefer first; letters and digits only, see plain_name.
NAMES = {
    'customer_id': 'customerid customerkey customernumber customerno clientid clientnumber userid buyerid '
                   'contactid kundennummer kundennr kundenid idclient email customeremail emailaddress useremail '
                   'customer client user kunde',
    'order_id': 'orderid ordernumber orderno ordernr ordername order bestellnummer bestellnr auftragsnummer '
                'transactionid invoicenumber invoiceno invoiceid invoice receiptid rechnungsnummer numerocommande',
    'ordered_at': 'orderedat orderdate orderedon orderdatetime ordertime createdat purchasedate purchasedat '
                  'invoicedate transactiondate eventdate datetime timestamp date bestelldatum rechnungsdatum '
                  'datum datecommande paidat',
    'amount': 'amount ordertotal orderamount ordertotalamount totalamount totalprice grandtotal total value '
              '$value revenue betrag gesamtbetrag gesamtsumme gesamt summe umsatz montant',
    'kind': 'kind transactiontype ordertype type art typ',
    'status': 'status orderstatus financialstatus',
    'currency': 'currency currencycode ordercurrency $currency waehrung währung devise',
    'refunded': 'refundedamount orderrefundamount refundamount',
}

# Exports that are known by their columns: those they must have, and which has what.
# per_order: the amount is the order's, not the row's; events: only this word in the column kind counts.
PRESETS = (
    {'name': 'Shopify orders export', 'needs': 'name email financialstatus total createdat', 'per_order': True,
     'columns': {'customer_id': 'email', 'order_id': 'name', 'ordered_at': 'createdat', 'amount': 'total',
                 'status': 'financialstatus', 'currency': 'currency', 'refunded': 'refundedamount',
                 'cancelled': 'cancelledat'}},
    {'name': 'WooCommerce orders export', 'needs': 'ordernumber orderstatus orderdate ordertotalamount',
     'per_order': True,
     'columns': {'customer_id': 'customeremail customeruserid', 'order_id': 'ordernumber',
                 'ordered_at': 'orderdate', 'amount': 'ordertotalamount', 'status': 'orderstatus',
                 'currency': 'ordercurrency currency', 'refunded': 'orderrefundamount'}},
    {'name': 'Klaviyo events', 'needs': 'eventdate $value', 'events': 'placed order',
     'columns': {'customer_id': 'email customeremail', 'order_id': 'orderid', 'ordered_at': 'eventdate',
                 'amount': '$value', 'kind': 'metricname metric eventname event', 'currency': '$currency'}},
)

# What words in the columns kind and status mean; none does not count.
KIND_WORDS = {
    'order': 'order|sale|sales|sold|purchase|charge|invoice|placed order|verkauf|kauf|bestellung|rechnung|vente|'
             'commande|venta|pedido',
    'refund': 'refund|refunded|return|returned|credit|credit note|credit memo|chargeback|reversal|erstattung|'
              'rückerstattung|gutschrift|retoure|remboursement|avoir|reembolso|devolución',
    'none': 'cancelled|canceled|cancelled order|void|voided|failed|pending|draft|quote|test|storno|storniert',
}
STATUS_WORDS = {
    'order': 'completed|complete|paid|processing|shipped|delivered|fulfilled|closed|partially refunded|'
             'partially paid|success|succeeded|successful|captured|done|abgeschlossen|bezahlt|versendet',
    'none': 'cancelled|canceled|failed|refunded|pending|void|voided|unpaid|declined|expired|draft|checkout draft|'
            'trash|abandoned|on hold|authorized|pending payment|storniert|erstattet|offen',
}
NO_KEY = {'', 'NULL', '\\N', 'NaN', 'None'}
TOTALS = re.compile(r'(grand |sub)?totals?|sum|summe|gesamt(summe)?|total g[eé]n[eé]ral', re.I)

DOLLARS = frozenset('USD CAD AUD NZD HKD SGD MXN ARS CLP COP TWD'.split())
CODES = frozenset('''
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG
    SEK SGD SHP SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD
    XOF XPF YER ZAR ZMW'''.split())
CURRENCY_SIGNS = {
    '€': {'EUR'}, 'EURO': {'EUR'}, '£': {'GBP'}, '$': DOLLARS, 'US$': {'USD'}, 'CA$': {'CAD'}, 'C$': {'CAD'},
    'A$': {'AUD'}, 'AU$': {'AUD'}, 'NZ$': {'NZD'}, 'R$': {'BRL'}, '¥': {'JPY', 'CNY'}, '₹': {'INR'}, 'RS': {'INR', 'PKR'},
    'RS.': {'INR', 'PKR'}, 'FR': {'CHF'}, 'FR.': {'CHF'}, 'SFR.': {'CHF'}, 'KR': {'SEK', 'NOK', 'DKK', 'ISK'},
    'KR.': {'SEK', 'NOK', 'DKK', 'ISK'}, 'ZŁ': {'PLN'}, 'KČ': {'CZK'}, 'FT': {'HUF'}, '₺': {'TRY'}, '₽': {'RUB'}, '₴': {'UAH'},
}


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


def plain_name(name):
    """Reduces a column's name to what is compared."""
    return re.sub(r'[^\w$]|_', '', name).lower()


def plain_word(word):
    """Reduces a kind or a status to what is compared."""
    return re.sub(r'[\s_-]+', ' ', re.sub(r'^wc-', '', word.strip().lower()))


class Faults:
    """Collects what is wrong, to show it all at once."""

    def __init__(self):
        self.shown = []
        self.number = 0

    def add(self, line, column, value, what):
        self.number += 1
        if len(self.shown) < FAULTS_SHOWN:
            where = f'line {line}' + (f', column {column!r}' if column else '')
            self.shown.append(f'{where}: ' + (f'{shorten(value)} ' if value is not None else '') + what)

    def refuse(self):
        """Ends the reading if anything was wrong."""
        if not self.number:
            return
        rest = self.number - len(self.shown)
        lines = [f'{counted(self.number, "fault")}; nothing was read:']
        lines += ['  ' + shown for shown in self.shown]
        lines += [f'  and {rest:,} more'] if rest else []
        raise Refusal('\n'.join(lines))


class Options:
    """What the environment says of the file."""

    def __init__(self, environment):
        self.columns = dict(self.pairs(environment, 'MAP'))
        self.kinds = {plain_word(word): kind for word, kind in self.pairs(environment, 'KINDS')}
        self.dates = self.one_of(environment, 'DATES', ('DMY', 'MDY', 'YMD'))
        self.decimals = self.one_of(environment, 'DECIMALS', ('POINT', 'COMMA'))
        self.rows = self.one_of(environment, 'ROWS', ('LINES', 'ORDERS'))
        self.delimiter = environment.get('DELIMITER', '').replace('\\t', '\t')
        self.encoding = environment.get('ENCODING', '')
        self.check()

    @staticmethod
    def pairs(environment, name):
        """Splits a=b,c=d; quotes protect commas in names."""
        for pair in next(csv.reader([environment.get(name, '')]), []):
            key, equals, value = (part.strip() for part in pair.partition('='))
            if not equals:
                raise Refusal(f"{name}: '{pair}' is not of the form name=value")
            yield key, value

    @staticmethod
    def one_of(environment, name, values):
        value = environment.get(name, '').strip().upper()
        if value and value not in values:
            raise Refusal(f"{name}: '{value}' is none of {', '.join(values)}")
        return value

    def check(self):
        for role in self.columns:
            if role not in NAMES:
                raise Refusal(f"MAP: '{role}' is none of {', '.join(NAMES)}")
        for kind in self.kinds.values():
            if kind not in ('order', 'refund', 'none'):
                raise Refusal(f"KINDS: '{kind}' is none of order, refund, none")
        if len(self.delimiter) > 1:
            raise Refusal(f"DELIMITER: '{self.delimiter}' is not one character")
        try:
            codecs.lookup(self.encoding or 'utf-8')
        except LookupError:
            raise Refusal(f"ENCODING: '{self.encoding}' is not known") from None


ZERO_BYTE = 'has a NUL byte: the file is damaged, or is no text'


class File:
    """A file that is read several times: its bytes, its characters, its rows."""

    def __init__(self, path, options, faults):
        self.faults = faults
        self.path = self.regular(path)
        with self.open_bytes() as file:
            start = file.read(4096)
        if start[:4] in (b'PK\3\4', b'\xd0\xcf\x11\xe0'):
            raise Refusal('is a workbook, or an archive; save the sheet as CSV UTF-8 and read that')
        self.encoding = options.encoding or self.guess_utf_16(start)
        if self.encoding:
            self.encoding = re.sub('(?i)^utf-?8$', 'utf-8-sig', self.encoding)
            self.check_characters()
        else:
            self.encoding = self.survey()
        self.delimiter = options.delimiter

    def regular(self, path):
        """Copies what can be read only once to a file."""
        if path != '-' and stat.S_ISREG(os.stat(path).st_mode):
            with open(path, 'rb'):
                return path
        if path != '-' and stat.S_ISDIR(os.stat(path).st_mode):
            raise Refusal('is a directory')
        self.copy = tempfile.NamedTemporaryFile()
        with (sys.stdin.buffer if path == '-' else open(path, 'rb')) as file:
            shutil.copyfileobj(file, self.copy)
        self.copy.flush()
        return self.copy.name

    def open_bytes(self):
        file = open(self.path, 'rb')
        start = file.read(2)
        file.seek(0)
        return gzip.GzipFile(fileobj=file) if start == b'\x1f\x8b' else file

    @staticmethod
    def guess_utf_16(start):
        """Tells UTF-16 by its mark, or by where its zero bytes are."""
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return 'utf-16'
        half = len(start) // 2
        for encoding, zeros in (('utf-16-le', start[1::2]), ('utf-16-be', start[0::2])):
            if half and zeros.count(0) > 0.8 * half:
                return encoding
        return None

    def survey(self):
        """Reads all bytes: UTF-8, unless one says otherwise; and reports zero bytes."""
        decoder, lines, encoding = codecs.getincrementaldecoder('utf-8')(), 0, 'utf-8-sig'
        with self.open_bytes() as file:
            while True:
                chunk = file.read(1 << 20)
                if b'\0' in chunk:
                    line = lines + chunk[:chunk.index(b'\0')].count(b'\n') + 1
                    self.faults.add(line, None, None, ZERO_BYTE)
                try:
                    if encoding == 'utf-8-sig':
                        decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    line = lines + chunk[:error.start].count(b'\n') + 1
                    remark(f'Line {line} is not UTF-8: read as Windows-1252 (ENCODING=... reads another).')
                    encoding = 'retention-1252'
                if not chunk:
                    return encoding
                lines += chunk.count(b'\n')

    def check_characters(self):
        with self.open_text() as file:
            try:
                for line, text in enumerate(file, 1):
                    if '\0' in text:
                        self.faults.add(line, None, None, ZERO_BYTE)
            except UnicodeError as error:
                raise Refusal(f'is damaged, or not in this encoding: {error}') from None

    def open_text(self):
        if self.encoding == 'retention-1252':
            return io.TextIOWrapper(self.open_bytes(), 'cp1252', errors='retention_latin_1', newline='')
        return io.TextIOWrapper(self.open_bytes(), self.encoding, newline='')

    def header_text(self):
        """Returns the text of the first lines, for guessing."""
        with self.open_text() as file:
            return file.read(1 << 16)

    def rows(self):
        """Yields each row with the number of its first line, without empty lines and Excel's sep=."""
        with self.open_text() as file:
            reader, line = csv.reader(file, delimiter=self.delimiter, strict=True), 1
            while True:
                try:
                    row = next(reader)
                    if row and not (line == 1 and is_separator_line(row)):
                        yield line, row
                except StopIteration:
                    return
                except csv.Error as error:
                    self.faults.add(line, None, None, self.explain(error))
                line = reader.line_num + 1

    @staticmethod
    def explain(error):
        if 'unexpected end' in str(error):
            return 'opens a quote that is not closed by the end of the file; close it, or write "" for a quote'
        return f'{error}: within a quoted field a quote is written twice'


def is_separator_line(row):
    return row[0].lower().startswith('sep=')


# Windows-1252 leaves out five bytes; as Latin-1 they are control characters.
codecs.register_error('retention_latin_1', lambda error: (
    error.object[error.start:error.end].decode('latin-1'), error.end))


class Layout:
    """Which column has what."""

    def __init__(self, header, options):
        self.header = header
        self.plain = [plain_name(name) for name in header]
        self.options = options
        self.preset = next((preset for preset in PRESETS if set(preset['needs'].split()) <= set(self.plain)), {})
        named = self.preset.get('columns') or NAMES
        self.others = {}
        self.columns = {role: self.find(role, names.split()) for role, names in named.items()}
        self.columns.update({role: self.find_mapped(role, name) for role, name in options.columns.items()})
        self.columns = {role: column for role, column in self.columns.items() if column is not None}
        if options.rows:
            self.per_order = options.rows == 'ORDERS'
        else:
            self.per_order = self.preset.get('per_order', False)

    def find(self, role, names):
        """Finds the first of these names among the columns, and notes what else it could have been."""
        if role in self.options.columns:
            return None
        found = [name for name in names if name in self.plain]
        if not found:
            return None
        if self.plain.count(found[0]) > 1:
            raise Refusal(f'has two columns {self.header[self.plain.index(found[0])]!r}; '
                          f"name the others differently, or MAP='{role}=...' another")
        if len(found) > 1 and not self.preset:
            self.others[role] = [self.header[self.plain.index(name)] for name in found[1:]]
        return self.plain.index(found[0])

    def find_mapped(self, role, name):
        if not name:
            return None
        for names, wanted in ((self.header, name), (self.plain, plain_name(name))):
            if names.count(wanted) > 1:
                raise Refusal(f'has two columns {name!r}, which MAP names')
            if wanted in names:
                return names.index(wanted)
        raise Refusal(f'has no column {name!r}, which MAP names. Its first line is: {self.shown()}')

    def shown(self):
        return ', '.join(self.header)[:500]

    def check(self):
        missing = [role for role in REQUIRED if role not in self.columns]
        if missing:
            example = ','.join(f'{role}=<its name>' for role in missing)
            raise Refusal(f"has no column that is known as {' or '.join(missing)}. "
                          f"Write MAP='{example}'. Its first line is: {self.shown()}")

    def describe(self):
        """Says which columns were taken, unless they have our names."""
        taken = [f'{role} is {self.header[column]!r}' for role, column in self.columns.items()
                 if self.header[column].strip().lower() != role]
        if self.preset:
            remark(f"This is a {self.preset['name']}." if self.preset['name'][0] != 'K' else 'These are Klaviyo events.')
        if taken:
            remark(f"Columns: {', '.join(taken)}. MAP='role=name,...' takes others.")
        for role, names in self.others.items():
            remark(f"Not used for {role}: {', '.join(names)}.")


def find_layout(file, options):
    """Finds the delimiter with which most is recognised in the first row that has fields."""
    start = file.header_text()
    if not start.strip('\ufeff \t\r\n'):
        raise Refusal('is empty; it should have a header and a row for each order')
    marks = [file.delimiter] if file.delimiter else [',', ';', '\t', '|']
    layouts = []
    for mark in marks:
        file.delimiter = mark
        header = read_header(file)
        try:
            layout = Layout(header, options)
            layouts.append((len(set(layout.columns) & set(REQUIRED)), len(header), layout, mark))
        except Refusal as refusal:
            layouts.append((-1 if len(header) == 1 else len(REQUIRED), len(header), refusal, mark))
    _, _, layout, file.delimiter = max(layouts, key=lambda each: each[:2])
    if isinstance(layout, Refusal):
        raise layout
    layout.check()
    return layout


def read_header(file):
    """Reads the first row; its faults come again, and are noted, when all rows are read."""
    faults, file.faults = file.faults, Faults()
    try:
        return next((row for line, row in file.rows() if any(map(str.strip, row))), [''])
    finally:
        file.faults = faults


def data_rows(file):
    """Yields the rows after the header that are not blank."""
    rows = file.rows()
    next((row for line, row in rows if any(map(str.strip, row))), None)
    for line, row in rows:
        if any(row):
            yield line, row


CORE = re.compile(r"(?:(?<![^\W\d_])[.,])?[0-9](?:[0-9.,'’\s]*[0-9])?[.,]?")
PLAIN = re.compile(r'-?[0-9]+(?:\.[0-9]+)?').fullmatch
EITHER = re.compile(r'[1-9][0-9]{0,2}[.,][0-9]{3}').fullmatch
SIGNS = '-−–'
NO_CENTS = re.compile(r'(?<=[0-9])[.,][-–—]{1,2}').sub     # 5,-
EXPONENT = re.compile('[eE][-+]?[0-9]').match
LOST_DIGITS = 'has lost digits, as Excel shows large numbers; export it with all of them'
NO_SIGNS = re.compile(f'[{SIGNS}+]').sub
NO_DIGITS = re.compile('[^0-9]').sub


class Amounts:
    """Reads amounts, all of a file with one decimal mark."""

    def __init__(self, options, shapes, delimiter):
        votes = Counter()
        for shape, number in shapes.items():
            votes[self.mark_of(shape)] += number
        self.certain = bool(options.decimals or votes['.'] or votes[','])
        if options.decimals:
            self.mark = ',' if options.decimals == 'COMMA' else '.'
        elif self.certain:
            self.mark = ',' if votes[','] > votes['.'] else '.'
        else:
            self.mark = ',' if delimiter == ';' else '.'
        group = r"[\s'’" + ('.]' if self.mark == ',' else ',]')
        self.number = re.compile(rf'([0-9]+|[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}|)'
                                 rf'(?:{re.escape(self.mark)}([0-9]*))?').fullmatch
        self.either = None      # the first amount that could be read in two ways
        self.either_number = 0
        self.around = {}        # whether what stands around a number makes it negative
        self.currencies = None  # those that all amounts so far can be in

    @staticmethod
    def mark_of(shape):
        """Tells the decimal mark that an amount must have, if it tells."""
        core = CORE.search(shape)
        if not core:
            return None
        core = core.group()
        points, commas = core.count('.'), core.count(',')
        if points and commas:
            return '.' if core.rfind('.') > core.rfind(',') else ','
        if points + commas == 0 or EITHER(core):
            return None
        mark, other = ('.', ',') if points else (',', '.')
        return mark if points + commas == 1 else other

    def read(self, text, line):
        """Returns an amount as PostgreSQL writes it; raises ValueError with what is wrong."""
        if self.mark == '.' and len(text) < 40 and PLAIN(text):
            if text[-4:-3] == '.' and len(text) <= 8:
                self.note_either(text.lstrip('-'), line)
            return text
        text = text.strip()
        if not text:
            raise ValueError('is no amount: write one, or 0')
        if len(text) > 60:
            raise ValueError('is too long for an amount')
        negative = text[0] == '(' and text[-1] == ')'
        text = text[1:-1].strip() if negative else text
        text = NO_CENTS('', text)
        core = CORE.search(text)
        number = core and self.number(core.group().strip())
        if not number or not (number[1] or number[2]):
            raise ValueError(self.explain(text, core))
        self.note_either(core.group(), line)
        around = text[:core.start()], text[core.end():]
        minus = self.around.get(around)
        if minus is None:
            minus = self.around[around] = self.read_around(*around)
        digits = NO_DIGITS('', number[1]) or '0'
        return ('-' if negative or minus else '') + digits + (f'.{number[2]}' if number[2] else '')

    def explain(self, text, core):
        if not core:
            return 'is not an amount'
        other, name = ('comma', 'point') if self.mark == '.' else ('point', 'comma')
        return f'is not an amount with a decimal {name}, which the others have; correct it, ' \
               f'or write DECIMALS={other}'

    def note_either(self, core, line):
        """Notes what a person could read in another way: 1.234."""
        if EITHER(core) and (self.mark in core or not self.certain):
            self.either_number += 1
            self.either = self.either or (line, core)

    def read_around(self, before, after):
        """Reads the sign and the currency beside a number; returns whether it is negative."""
        if EXPONENT(after):
            raise ValueError(LOST_DIGITS)
        minus = 0
        for part in (before, after):
            minus += sum(part.count(sign) for sign in SIGNS)
            self.add_currency(NO_SIGNS('', part))
        if minus > 1:
            raise ValueError('has more than one sign')
        return minus == 1

    def add_currency(self, text, _line=None):
        text = text.strip()
        if not text:
            return
        codes = CURRENCY_SIGNS.get(text.upper())
        if codes is None and text.upper() not in CODES and (
                len(text) > 1 or unicodedata.category(text) != 'Sc'):
            raise ValueError(f'has {shorten(text)} beside the number, which is no currency')
        codes = frozenset(codes or {text.upper()})
        if self.currencies is not None and not codes & self.currencies:
            raise ValueError(f"is in another currency than those above ({'/'.join(sorted(self.currencies))}): "
                             'read one file for each currency, or convert them')
        self.currencies = codes if self.currencies is None else codes & self.currencies

    def describe(self):
        if self.either:
            line, text = self.either
            read = text.replace(self.mark, 'x').replace(',', '').replace('.', '').replace('x', '.')
            other = 'comma' if self.mark == '.' else 'point'
            remark(f'{counted(self.either_number, "amount")} could be read in two ways; the first, line {line}: '
                   f'{text} was read as {read}. DECIMALS={other} reads it the other way.')


MONTHS = {name: number for number, names in enumerate(
    'jan feb,fév mar,mär,mrz apr may,mai jun jul aug sep oct,okt nov dec,dez'.split(), 1) for name in names.split(',')}
WHEN = re.compile(r"""
    (?: (?:mon|tue|wed|thu|fri|sat|sun)[a-z]* ,? \s+ )?
    (?P<date> (?P<a>[0-9]{1,4}) (?P<mark>[./-]) (?P<b>[0-9]{1,2}) (?P=mark) (?P<c>[0-9]{2,4})
            | (?P<compact>[0-9]{8})
            | (?P<day>[0-9]{1,2}) \.? [ -]? (?P<month>[^\W\d_]{3,9}) \.? [ ,-]+ (?P<year>[0-9]{4}|[0-9]{2})
            | (?P<month2>[^\W\d_]{3,9}) \.? [ ] (?P<day2>[0-9]{1,2}) (?:st|nd|rd|th)? ,? [ ] (?P<year2>[0-9]{4}) )
    (?P<time> (?: T | ,?\s+ (?:at\s+)? ) [0-9].* )?
    """, re.X | re.I).fullmatch
TIME = re.compile(r"""
    (?: T | ,?\s+ (?:at\s+)? )
    (?P<hour>[0-9]{1,2}) : (?P<minute>[0-9]{2}) (?: : (?P<second>[0-9]{2}) (?: [.,] (?P<fraction>[0-9]{1,9}) )? )?
    \s* (?P<half> [ap]\.?m\.? )? \s*
    (?P<zone> Z | UTC | GMT | [+-][0-9]{1,2} (?: :? [0-9]{2} )? )?
    """, re.X | re.I).fullmatch
NUMERIC = re.compile(r'\s*([0-9]{1,3})([./-])([0-9]{1,2})\2[0-9]{2}').match
SHORT_YEAR = re.compile(r'\s*[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2}(?![0-9])').match
ORDERS = {'DMY': 'day.month.year', 'MDY': 'month/day/year', 'YMD': 'year-month-day'}


class Dates:
    """Reads dates, all of a file in one order of day and month."""

    def __init__(self, options, starts):
        votes = Counter(vote for vote in map(self.vote, starts) if vote)
        self.numeric = sum(votes.values()) > 0
        self.chosen = options.dates
        self.certain = bool(votes['DMY'] or votes['MDY'] or votes['YMD'])
        self.short = next((start for start in starts if SHORT_YEAR(start)), None)
        self.order = options.dates or max(('DMY', 'MDY', 'YMD'), key=lambda order: votes[order])
        self.dates, self.times = {}, {}
        self.zones = set()      # whether some times have one, and some have none

    @staticmethod
    def vote(start):
        """Tells the order of day and month that a date must have, if it tells."""
        numeric = NUMERIC(start)
        if not numeric or len(numeric[1]) > 2:
            return None
        first, second = int(numeric[1]), int(numeric[3])
        if first > 31:
            return 'YMD'
        if first > 12:
            return 'DMY'
        return 'MDY' if 12 < second <= 31 else 'either'

    def read(self, text, _line):
        """Returns a time as PostgreSQL writes it, with its zone; raises ValueError with what is wrong."""
        date, time = self.dates.get(text[:10]), self.times.get(text[10:])
        if date and time:
            return date + time
        return self.read_new(text)

    def read_new(self, text):
        stripped = text.strip()
        if re.fullmatch('1[0-9]{9}(?:[0-9]{3})?', stripped):
            seconds = int(stripped[:10])
            return str(datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc))
        when = WHEN(stripped) if len(stripped) < 80 else None
        if not when:
            raise ValueError(self.explain(stripped))
        date, time = self.read_date(when), self.read_time(when['time'] or '')
        if len(when['date']) == 10 and text.startswith(when['date']):
            if len(self.times) > 200000:
                self.times.clear()
            self.dates[text[:10]], self.times[text[10:]] = date, time
        return date + time

    @staticmethod
    def explain(text):
        if not text:
            return 'is no date'
        if re.fullmatch(r'[0-9]{5}(\.[0-9]+)?', text):
            return "is a number of days, as Excel keeps dates; format the column as 2025-12-31 and export again"
        return 'is not a date that is understood; write it like 2025-12-31 or 2025-12-31 23:59:00 +0100'

    def read_date(self, when):
        if when['a']:
            year, month, day = self.sort_parts(when['a'], when['b'], when['c'])
        elif when['compact']:
            year, month, day = when['compact'][:4], when['compact'][4:6], when['compact'][6:]
        else:
            name = (when['month'] or when['month2']).lower()
            month = MONTHS.get(name[:3])
            if not month:
                raise ValueError(f'has {name!r}, which is no month that is understood')
            year, day = when['year'] or when['year2'], when['day'] or when['day2']
        year, month, day = int(year) + self.century(year), int(month), int(day)
        if not 1970 <= year <= 2100:
            raise ValueError(f'is not between 1970 and 2100: it was read as the year {year}')
        try:
            return datetime.date(year, month, day).isoformat()
        except ValueError:
            raise ValueError(f'does not exist: it was read as day {day} of month {month} of {year}'
                             + self.hint(when)) from None

    def hint(self, when):
        """Says what to write if the order could be another."""
        if not when['a'] or len(when['a']) == 4:
            return '; correct it'
        return f"; correct it, or write DATES={'DMY' if self.order == 'MDY' else 'MDY'}"

    def sort_parts(self, first, second, third):
        if len(first) == 4:
            return first, second, third
        if len(first) == 3 or len(third) == 3:
            raise ValueError('has a year of three digits')
        return {'DMY': (third, second, first), 'MDY': (third, first, second),
                'YMD': (first, second, third)}[self.order]

    @staticmethod
    def century(year):
        if len(year) != 2:
            return 0
        return 2000 if int(year) < 70 else 1900

    def read_time(self, text):
        """Returns the time with its zone: midnight if there is none, UTC if it does not say."""
        if not text:
            return ' 00:00:00+00:00'
        time = TIME(text)
        if not time:
            raise ValueError('has a time, or a zone, that is not understood; write it like 23:59:00 +0100')
        hour, minute, second = int(time['hour']), int(time['minute']), int(time['second'] or 0)
        if time['half']:
            if not 1 <= hour <= 12:
                raise ValueError(f'has the hour {hour} and am or pm')
            hour = hour % 12 + (12 if time['half'][0] in 'pP' else 0)
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError('has a time that does not exist')
        self.zones.add(bool(time['zone']))
        fraction = f".{time['fraction'][:6]}" if time['fraction'] else ''
        return f' {hour:02}:{minute:02}:{second:02}{fraction}{self.read_zone(time["zone"])}'

    @staticmethod
    def read_zone(zone):
        if not zone or zone[0] not in '+-':
            return '+00:00'
        digits = zone[1:].replace(':', '')
        hours, minutes = divmod(int(digits), 100) if len(digits) > 2 else (int(digits), 0)
        if hours > 14 or minutes > 59:
            raise ValueError(f'has the zone {zone}, which does not exist')
        return f'{zone[0]}{hours:02}:{minutes:02}'

    def describe(self):
        if self.chosen:
            return
        if self.short:
            remark(f'Years have two digits. Dates, such as {self.short!r}, were read as {ORDERS[self.order]}. '
                   'DATES=DMY, MDY or YMD chooses.')
        elif self.numeric and not self.certain:
            other = 'MDY' if self.order == 'DMY' else 'DMY'
            remark(f'Which is the day, which the month? No day is above 12. Dates were read as '
                   f'{ORDERS[self.order]}. DATES={other} reads them as {ORDERS[other]}.')

    def summary(self):
        order = f'dates as {ORDERS[self.order]}' if self.numeric else 'dates as year-month-day'
        return order + (', times without a zone as UTC' if False in self.zones else '')


DIGITS = str.maketrans('123456789', '9' * 9)


def survey_values(file, layout):
    """Collects, of all rows, the shapes of amounts and the dates: what tells how they are written."""
    shapes, starts, rows = {}, set(), 0
    faults, file.faults = file.faults, Faults()     # they come again when the rows are read
    dates = layout.columns['ordered_at']
    columns = [layout.columns[role] for role in ('amount', 'refunded') if role in layout.columns]
    last = max(dates, *columns)
    for _, row in data_rows(file):
        rows += 1
        if len(row) <= last:
            continue
        starts.add(row[dates][:10])
        for column in columns:
            shape = row[column][:40].translate(DIGITS)
            shapes[shape] = shapes.get(shape, 0) + 1
    if not rows and not file.faults.number:
        raise Refusal('has a header and no orders')
    file.faults = faults
    return shapes, starts


def is_total_word(value):
    return len(value) < 30 and TOTALS.fullmatch(value.strip().rstrip(':').rstrip()) is not None


class Reader:
    """Reads the rows and writes the orders among them."""

    def __init__(self, layout, amounts, dates, faults, options, output):
        self.layout, self.amounts, self.dates, self.faults = layout, amounts, dates, faults
        self.write = csv.writer(output, lineterminator='\n').writerow
        self.words = {'kind': self.meanings(KIND_WORDS, options), 'status': self.meanings(STATUS_WORDS, options)}
        self.at = {role: layout.columns.get(role) for role in list(NAMES) + ['cancelled']}
        keys = [self.at[role] for role in ('customer_id', 'order_id', 'ordered_at')]
        self.keys = [column for column in keys if column is not None]
        self.word_roles = [role for role in self.words if self.at[role] is not None]
        key = self.at['customer_id']
        self.is_address = 'mail' in layout.plain[key]
        self.no_key = NO_KEY | ({'0'} if layout.plain[key] == 'customeruserid' else set())
        self.left_out = Counter()
        self.unknown = set()
        self.seen, self.more = {}, set()    # hashes: of an order its row, and those of its other rows
        self.further = 0                    # further rows of orders
        self.customers = set()
        self.counts = {'order': 0, 'refund': 0}
        self.sums = {'order': Decimal(0), 'refund': Decimal(0)}
        self.days = set()
        self.previous = None

    @staticmethod
    def meanings(words, options):
        meanings = {word: kind for kind, all_words in words.items() for word in all_words.split('|')}
        meanings.update(options.kinds)
        return meanings

    def field(self, row, role):
        column = self.at[role]
        return '' if column is None else row[column].strip()

    def read(self, line, row):
        """Reads one row, unless it is none of an order."""
        width = len(self.layout.header)
        if len(row) != width or not all([row[column] for column in self.keys]):
            if self.is_total(row):
                self.left_out['with a total'] += 1
                return
            if len(row) != width and any(row[width:] or [True]):
                self.faults.add(line, None, None, f'has {counted(len(row), "column")}, and the header '
                                f'{width}: quote what has the delimiter in it')
                return
        order = self.field(row, 'order_id')
        if self.is_line(row, order):
            self.left_out['with a further line of an order, without a total'] += 1
            return
        self.previous = order
        kind = self.read_kind(line, row)
        if kind:
            self.read_order(line, row, order, kind)

    def is_total(self, row):
        """Tells a row of totals: it says so, or has an amount of no customer, order and time."""
        values = [row[column].strip() if column < len(row) else '' for column in self.keys]
        if all(values):
            return False
        if is_total_word(row[0]) and self.at['order_id'] is not None and self.field_if_there(row, 'order_id') == '':
            return True
        if any(map(is_total_word, row)):
            return not self.field_if_there(row, 'ordered_at')
        return not any(values) and len(row) > self.at['amount']

    def field_if_there(self, row, role):
        return row[self.at[role]].strip() if self.at[role] < len(row) else ''

    def is_line(self, row, order):
        """Tells a further row of an order whose first has the total: Shopify's way."""
        return self.layout.per_order and order != '' and order == self.previous \
            and self.field(row, 'amount') == ''

    def read_kind(self, line, row):
        """Returns order or refund, or None for what does not count."""
        kind = 'order'
        for role in self.word_roles:
            word = self.field(row, role)
            if role == 'kind' and not word:
                continue
            meaning = self.meaning_of(role, word)
            if meaning is None:
                self.report_word(line, role, word)
                return None
            if meaning == 'none':
                self.left_out[f'of the {role} {shorten(word)}'] += 1
                return None
            kind = meaning if role == 'kind' or meaning == 'refund' else kind
        if self.at['cancelled'] is not None and self.field(row, 'cancelled'):
            self.left_out['with a date in Cancelled at'] += 1
            return None
        return kind

    def meaning_of(self, role, word):
        meaning = self.words[role].get(plain_word(word))
        event = self.layout.preset.get('events')
        if role == 'kind' and event and plain_word(word) not in {event, *self.layout.options.kinds}:
            return 'none'
        return meaning

    def report_word(self, line, role, word):
        """Reports each unknown word once."""
        if word in self.unknown and len(self.unknown) < 1000:
            return
        self.unknown.add(word)
        self.faults.add(line, self.layout.header[self.at[role]], word,
                        f"is no {role} that is known; write KINDS='{word[:60]}=order' (or =refund, =none), "
                        f"or MAP='{role}=' if the column is not about that")

    def read_order(self, line, row, order, kind):
        when = self.attempt(self.dates.read, line, row, 'ordered_at')
        amount = self.attempt(self.amounts.read, line, row, 'amount')
        refunded = None
        if self.at['refunded'] is not None and self.field(row, 'refunded'):
            refunded = self.attempt(self.amounts.read, line, row, 'refunded')
        if self.at['currency'] is not None:
            self.attempt(self.amounts.add_currency, line, row, 'currency')
        if when is None or amount is None:
            return
        if amount[0] == '-':
            amount = amount[1:]
            if kind == 'order' and amount.strip('0.'):
                kind = 'refund'
                self.left_out['negative'] += 1
        customer = self.read_customer(row)
        if customer is None:
            self.left_out['without a customer'] += 1
            return
        if order and self.is_repeated(line, row, (order, kind), (customer, when, amount)):
            return
        self.emit(customer, order, when, amount, kind)
        if refunded and refunded.strip('-0.'):
            self.emit(customer, order, when, refunded.lstrip('-'), 'refund')

    def attempt(self, read, line, row, role):
        """Reads a field, or reports what is wrong with it."""
        value = row[self.at[role]]
        try:
            return read(value, line)
        except ValueError as error:
            self.faults.add(line, self.layout.header[self.at[role]], value, str(error))
            return None

    def read_customer(self, row):
        """Returns the customer's key, or None. Addresses are compared in small letters."""
        key = self.field(row, 'customer_id')
        if key in self.no_key:
            return None
        return key.lower() if self.is_address else key

    def is_repeated(self, line, row, order, values):
        """Tells whether an order was there already: the same row, or where rows are orders the same order."""
        key = hash(order)
        mine = hash(values) if self.layout.per_order else hash(tuple(row))
        if key not in self.seen:
            self.seen[key] = mine
            return False
        if self.seen[key] == mine or mine in self.more:
            self.left_out['with the same order again (the same order id and values)'] += 1
            return True
        if self.layout.per_order:
            self.faults.add(line, self.layout.header[self.at['order_id']], order[0],
                            'is an order that was there with another customer, time or amount; '
                            'correct it, or write ROWS=lines if they add up')
            return True
        self.more.add(mine)
        self.further += order[1] == 'order'
        return False

    def emit(self, customer, order, when, amount, kind):
        self.write((customer, order, when, amount, kind))
        self.customers.add(hash(customer))
        self.days.add(when[:10])
        self.counts[kind] += 1
        self.sums[kind] += Decimal(amount)

    def describe(self):
        negative = self.left_out.pop('negative', 0)
        if negative:
            remark(f'{counted(negative, "negative amount")}: read as refunds.')
        for what, number in self.left_out.most_common(10):
            remark(f'Left out: {counted(number, "row")} {what}.')
        if self.more:
            remark(f'{counted(len(self.more), "row")} have the order id of a row above and other values: they are '
                   f'lines of one order, and add up. ROWS=orders: each has the whole amount, which counts once.')
        if self.at['order_id'] is None:
            remark('There is no order id: every row is an order, and equal rows count each.')

    def summary(self):
        orders = self.counts['order'] - self.further
        text = f'{counted(orders, "order")} of {counted(len(self.customers), "customer")}, ' \
               f'{money(self.sums["order"])} in sum'
        if self.counts['refund']:
            text += f', and {counted(self.counts["refund"], "refund")}, {money(self.sums["refund"])}'
        mark = 'point' if self.amounts.mark == '.' else 'comma'
        return f'{text}; from {min(self.days)} to {max(self.days)}; ' \
               f'{self.dates.summary()}, amounts with a decimal {mark}.'


def money(amount):
    return f'{amount:,.2f}' if amount == round(amount, 2) else f'{amount:,}'


def read_file(path, options, output):
    faults = Faults()
    file = File(path, options, faults)
    layout = find_layout(file, options)
    shapes, starts = survey_values(file, layout)
    amounts, dates = Amounts(options, shapes, file.delimiter), Dates(options, starts)
    reader = Reader(layout, amounts, dates, faults, options, output)
    for line, row in data_rows(file):
        reader.read(line, row)
    faults.refuse()
    for part in (layout, reader, amounts, dates):
        part.describe()
    if not reader.counts['order']:
        raise Refusal('has no order that counts')
    remark('Read: ' + reader.summary())


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__, file=sys.stderr)
        return 2
    csv.field_size_limit(2**31 - 1)
    gc.disable()    # nothing here refers to itself
    path = sys.argv[1]
    try:
        with tempfile.TemporaryFile('w+', encoding='utf-8', newline='') as output, localcontext() as context:
            context.prec = 100
            csv.writer(output, lineterminator='\n').writerow(CANONICAL)
            read_file(path, Options(os.environ), output)
            output.flush()
            output.buffer.seek(0)
            shutil.copyfileobj(output.buffer, sys.stdout.buffer, 1 << 20)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Refusal as refusal:
        remark(f'{path}: {refusal}')
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        remark(f'{path} is damaged: it cannot be decompressed ({error})')
    except UnicodeError as error:
        remark(f'{path}: is not text in the encoding {os.environ.get("ENCODING", "")} ({error})')
    except OSError as error:
        remark(f'{path}: cannot be read ({error.strerror})')
    else:
        return 0
    return 1


if __name__ == '__main__':
    sys.exit(main())
