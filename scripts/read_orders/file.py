"""A file's bytes, its characters, its rows."""

import codecs
import csv
import gzip
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from itertools import islice

from .report import Faults, Refusal, remark

BATCH = 1000
LINE_ENDS = re.compile('\r\n?|\n').findall
ZERO_BYTE = 'has a NUL byte: the file is damaged, or is no text'
NO_TEXT = (
    ((b'PK\3\4', b'\xd0\xcf\x11\xe0'),
     'is a workbook, or an archive; save the sheet as CSV UTF-8 and read that'),
    ((b'BZh', b'\xfd7zXZ', b'\x28\xb5\x2f\xfd'), 'is compressed; unpack it, or pack it by gzip'),
    ((b'%PDF',), 'is a PDF; export the orders as CSV'),
)
# What a page or a document begins with, and no table.
MARKUP = re.compile(rb'(\xef\xbb\xbf)?\s*(<[!?a-zA-Z]|[\[{]\s*["{\[])').match
# Letters of Polish that Windows-1252 would show within a word as signs: z³, wp³ata.
POLISH = re.compile(rb'[A-Za-z][\xb3\xb9\xbf][a-z]|\bz\xb3(?![0-9A-Za-z])').search
CODE_PAGES = {'retention-1252': ('cp1252', 'Windows-1252'),
              'retention-1250': ('cp1250', 'Windows-1250')}

# The code pages leave out some bytes; as Latin-1 they are control characters.
codecs.register_error('retention_latin_1', lambda error: (
    error.object[error.start:error.end].decode('latin-1'), error.end))


class File:
    """A file that is read several times: its bytes, its characters, its rows."""

    def __init__(self, path, options, faults):
        self.faults = faults
        self.path = self.regular(path)
        with self.open_bytes() as file:
            start = file.read(4096)
        self.refuse_other(start)
        self.encoding = options.encoding or self.guess_utf_16(start)
        if self.encoding:
            self.encoding = re.sub('(?i)^utf-?8$', 'utf-8-sig', self.encoding)
            self.check_characters()
        else:
            self.encoding = self.survey(start.startswith(codecs.BOM_UTF8))
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
    def refuse_other(start):
        """Refuses what is no table of text, whatever its name ends with."""
        for beginnings, message in NO_TEXT:
            if start.startswith(beginnings):
                raise Refusal(message)
        if MARKUP(start):
            raise Refusal('is a page, or a document (HTML, XML, JSON), whatever its name is; '
                          'open it and save it as CSV UTF-8')

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

    def survey(self, marked):
        """Reads all bytes: UTF-8, unless one says otherwise; and reports zero bytes."""
        decoder, lines, other, polish = codecs.getincrementaldecoder('utf-8')(), 0, None, False
        for chunk in self.chunks():
            if b'\0' in chunk:
                line = lines + chunk[:chunk.index(b'\0')].count(b'\n') + 1
                self.faults.add(line, None, None, ZERO_BYTE)
            try:
                if not other:
                    decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                other = lines + chunk[:error.start].count(b'\n') + 1
            polish = polish or other and POLISH(chunk)
            lines += chunk.count(b'\n')
        return self.choose(other, marked, polish)

    def chunks(self):
        """Yields the file's bytes, and at last none."""
        with self.open_bytes() as file:
            chunk = True
            while chunk:
                chunk = file.read(1 << 20)
                yield chunk

    def choose(self, other, marked, polish):
        """Chooses the encoding: other is the first line that is not UTF-8."""
        if other is None:
            return 'utf-8-sig'
        if marked:
            self.faults.add(other, None, None, 'is not UTF-8, as the mark at the start of the file '
                            'says; export it again, or write ENCODING=cp1252')
        encoding = 'retention-1250' if polish else 'retention-1252'
        remark(f'Line {other} is not UTF-8: read as {CODE_PAGES[encoding][1]} '
               '(ENCODING=... reads another).')
        return encoding

    def check_characters(self):
        with self.open_text() as file:
            try:
                for line, text in enumerate(file, 1):
                    if '\0' in text:
                        self.faults.add(line, None, None, ZERO_BYTE)
            except UnicodeError as error:
                raise Refusal(f'is damaged, or not in this encoding: {error}') from None

    def open_text(self):
        file = self.open_bytes()
        if self.encoding in CODE_PAGES:
            page = CODE_PAGES[self.encoding][0]
            return io.TextIOWrapper(file, page, errors='retention_latin_1', newline='')
        return io.TextIOWrapper(file, self.encoding, newline='')

    def header_text(self):
        """Returns the text of the first lines, for guessing."""
        with self.open_text() as file:
            return file.read(1 << 16)

    def rows(self):
        """Yields the rows with fields, each with the number of its first line, without sep=."""
        with self.open_text() as file:
            reader, line = csv.reader(file, delimiter=self.delimiter, strict=True), 1
            while True:
                try:
                    for row in reader:
                        if any(row) and not (line == 1 and is_separator_line(row)):
                            yield line, row
                        line = reader.line_num + 1
                    return
                except csv.Error as error:
                    self.faults.add(line, None, None, self.explain(error))
                    line = reader.line_num + 1

    def quiet_rows(self):
        """Yields the rows without faults: these come again when the rows are read."""
        faults, self.faults = self.faults, Faults()
        try:
            yield from self.rows()
        finally:
            self.faults = faults

    def batches(self):
        """Yields the rows by the thousand, each batch with the number of its first line."""
        with self.open_text() as file:
            reader, line = csv.reader(file, delimiter=self.delimiter, strict=True), 1
            rows = list(islice(reader, BATCH))
            while rows:
                yield line, rows
                line, rows = reader.line_num + 1, list(islice(reader, BATCH))

    @staticmethod
    def explain(error):
        if 'unexpected end' in str(error):
            return 'opens a quote that is not closed by the end of the file; ' \
                   'close it, or write "" for a quote'
        return f'{error}: within a quoted field a quote is written twice'


def number_rows(line, rows):
    """Yields the rows of a batch, each with the number of its first line."""
    for row in rows:
        yield line, row
        line += 1 + sum(len(LINE_ENDS(field)) for field in row if not field.isprintable())


def is_separator_line(row):
    return row[0].lower().startswith('sep=')
