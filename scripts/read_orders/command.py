"""The program: reads one file, writes its orders to stdout and remarks to stderr."""

import csv
import gc
import gzip
import os
import shutil
import sys
import tempfile
import zlib
from decimal import localcontext
from itertools import islice

from .book import Book, Repeated
from .columns import ColumnReader
from .dates import Dates
from .file import File
from .layout import data_batches, data_rows, find_layout
from .options import Options
from .orders import Reader
from .report import Faults, Refusal, remark
from .rows import Rules
from .survey import Survey

START = 20      # thousands of rows that are judged before they are read
CANONICAL = ('customer_id', 'order_id', 'ordered_at', 'amount', 'kind')


def read_file(path, options, output):
    """Reads as the first rows are judged, and again where all rows are to be judged otherwise."""
    file = File(path, options, Faults())
    layout = find_layout(file, options)
    damages, damaged, compares = file.faults, False, False
    judgement = judge_start(file, layout, options)
    while True:
        file.faults = damages.copy()
        reading = Reading(file, layout, options, judgement, begin(output), compares)
        try:
            found = reading.read_by_row() if damaged else reading.read()
        except csv.Error:
            damaged = True
            continue
        except Repeated:
            compares = True
            continue
        if found.same(judgement):
            break
        judgement = found
    if not reading.number and not file.faults.number:
        raise Refusal('has a header and no orders')
    file.faults.refuse()
    reading.dates.order = found.order
    reading.describe()


def judge_start(file, layout, options):
    survey = Survey(layout)
    try:
        for _, rows in islice(data_batches(file, layout), START):
            survey.look_at_ragged(rows)
    except csv.Error:
        pass
    return survey.judge(options, file.delimiter)


def begin(output):
    """Empties the output but for the header."""
    output.seek(0)
    output.truncate()
    csv.writer(output, lineterminator='\n').writerow(CANONICAL)
    return output


class Reading:
    """One reading of a file whose dates and amounts are judged before."""

    def __init__(self, file, layout, options, judgement, output, compares):
        self.file, self.layout, self.faults = file, layout, file.faults
        self.amounts, self.dates = judgement.amounts, Dates(judgement.order)
        self.options = options
        layout.use_time(not judgement.timed)
        self.rules = Rules(layout, self.faults, options)
        self.book = Book(layout, self.rules, output, compares)
        self.reader = Reader(layout, self.rules, self.amounts, self.dates, self.book)
        self.number = 0

    def read(self):
        """Reads all rows; returns how all of them, and not the first only, would be judged."""
        survey = Survey(self.layout)
        columns = ColumnReader(self.reader, survey)
        for line, rows in data_batches(self.file, self.layout):
            columns.read(line, rows)
            self.number += any(map(any, rows))
        return survey.judge(self.options, self.file.delimiter)

    def read_by_row(self):
        """Does as above where rows cannot be read, and reports those."""
        survey = Survey(self.layout)
        for line, row in data_rows(self.file.rows(), self.layout):
            survey.look_at_ragged([row])
            self.reader.read(line, row)
        return survey.judge(self.options, self.file.delimiter)

    def describe(self):
        for part in (self.layout, self.book, self.amounts, self.dates):
            part.describe()
        if not self.book.counts['order']:
            raise Refusal('has no order that counts')
        remark(f'Read: {self.book.summary()}; {self.dates.summary()}, {self.amounts.summary()}.')


def read_and_write(path):
    # Opens it twice: a text file for writing alone is the faster.
    with tempfile.TemporaryFile('w', encoding='utf-8', newline='') as output, \
            open(os.dup(output.fileno()), 'rb') as written, localcontext() as context:
        context.prec = 100
        read_file(path, Options(os.environ), output)
        output.flush()
        written.seek(0)
        shutil.copyfileobj(written, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()


def explain(error):
    """Says what went wrong with a file as a whole."""
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return f' is damaged: it cannot be decompressed ({error})'
    if isinstance(error, UnicodeError):
        return f': is not text in the encoding {os.environ.get("ENCODING", "")} ({error})'
    if isinstance(error, OSError):
        return f': cannot be read ({error.strerror})'
    return f': {error}'


def main(usage):
    if len(sys.argv) != 2 or sys.argv[1] in ('-h', '--help'):
        print(usage, file=sys.stderr)
        return 2
    csv.field_size_limit(2**31 - 1)
    gc.disable()    # nothing here refers to itself
    try:
        read_and_write(sys.argv[1])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Refusal, EOFError, zlib.error, OSError, UnicodeError) as error:
        remark(sys.argv[1] + explain(error))
    else:
        return 0
    return 1
