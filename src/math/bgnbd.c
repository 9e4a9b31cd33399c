/*
 * bgnbd.c: BG/NBD (Fader, Hardie, Lee 2005, "Counting your customers" the easy way).
 *
 * Customers may leave after every purchase but the first, so that whoever
 * bought once is certainly alive.
 */
#include "math/beta_geometric.h"

const Model bgnbd = BETA_GEOMETRIC_MODEL("bgnbd", 0);
