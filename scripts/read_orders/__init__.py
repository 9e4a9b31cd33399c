"""Reads files of orders as shops export them; ../read_orders.py says how it is called.

    words     what columns, kinds, statuses, currencies and months are called
    report    remarks, faults, refusals
    options   what the environment says of the file
    file      bytes, characters, rows
    layout    which column has what
    amounts   how amounts are written
    dates     how dates and times are written
    survey    what all rows tell of that
    rows      which rows count, and as what
    orders    the orders, each once, and their sums
    command   the program
"""
