/*
 * mbgnbd.c: MBG/NBD (Batislam, Denizel, Filiztekin 2007; Hoppe, Wagner 2007).
 *
 * Customers may leave after every purchase, the first included.
 */
#include "math/beta_geometric.h"

const Model mbgnbd = BETA_GEOMETRIC_MODEL("mbgnbd", 1);
