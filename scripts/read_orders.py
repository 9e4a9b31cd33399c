#!/usr/bin/env python3
"""Reads a file of orders as shops export them; writes it in one form, to stdout, remarks to stderr.

    read_orders.py orders.csv[.gz] >canonical.csv          - is the standard input

The form: UTF-8, commas, and the columns customer_id, order_id, ordered_at, amount, kind (order or
refund). Nothing is written before all of the file has been checked. See docs/order_files.md for
what is recognised. The environment has what is not:

    MAP='customer_id=Email,amount=Total'    columns by name; 'status=' means that there is none
    KINDS='Kauf=order,Retoure=refund,lost=none'    what words in the columns kind and status mean
    DATES=DMY|MDY|YMD   DECIMALS=point|comma   ROWS=lines|orders   DELIMITER=';'   ENCODING=cp1252

Exit status 1: the file cannot be read, or not without doubt; the remarks say where and what to do.
"""

import sys

from read_orders.command import main    # the package beside this file

if __name__ == '__main__':
    sys.exit(main(__doc__))
