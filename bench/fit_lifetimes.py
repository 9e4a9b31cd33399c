"""Fits the models of bench/models.sql with the Python package lifetimes.

Reads customers as CSV (x, t_x, t, m) and writes a line for each model: its name, the customers
it was fitted to, and the processor seconds of that, without the reading.
"""
import sys
import time

import lifetimes
import pandas

# Its Pareto/NBD takes minutes for a million.
PARETO_ROWS = 100_000


def measure(name, fitter, data, columns):
    started = time.process_time()
    try:
        fitter.fit(*(data[column] for column in columns))
    except Exception as error:  # whatever it raises, the other models are of interest
        print(f"lifetimes could not fit {name}: {error}", file=sys.stderr)
        return
    print(name, len(data), time.process_time() - started, sep=",", flush=True)


customers = pandas.read_csv(sys.stdin)
purchases = ["x", "t_x", "t"]
measure("bgnbd", lifetimes.BetaGeoFitter(), customers, purchases)
measure("mbgnbd", lifetimes.ModifiedBetaGeoFitter(), customers, purchases)
measure("paretonbd", lifetimes.ParetoNBDFitter(), customers[:PARETO_ROWS], purchases)
measure("gammagamma", lifetimes.GammaGammaFitter(), customers[customers.x > 0], ["x", "m"])
