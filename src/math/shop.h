/*
 * shop.h: a simulated shop, whose customers follow a purchase model and whose amounts follow
 * Gamma-Gamma.
 */
#ifndef RETENTION_SHOP_H
#define RETENTION_SHOP_H

#include <stdbool.h>
#include <stdint.h>

#include "math/model.h"
#include "math/random.h"

/*
 * Holds models of math/model.h with their parameters: when customers buy, in days, and for how much
 * (Gamma-Gamma's p, q, v).
 */
typedef struct ShopParameters
{
	const Model *model;
	double		purchase[MODEL_MAX_PARAMETERS];
	double		spend[MODEL_MAX_PARAMETERS];
} ShopParameters;

/* Describes a customer, drawn by shop_customer, whose orders shop_next_order gives in turn. */
typedef struct ShopCustomer
{
	RandomStream stream;
	DrawnCustomer drawn;
	double		end;			/* day at which the customer leaves in any case */
	double		spend_rate;
	double		p;
	double		day;			/* of the next order, since the start of the simulation */
	bool		repeat;			/* the next order is not the first */
} ShopCustomer;

typedef struct ShopOrder
{
	double		day;
	int64_t		cents;
} ShopOrder;

extern void shop_customer(ShopCustomer *customer, const ShopParameters *shop,
						  uint64_t seed, int64_t number, double days);
extern bool shop_next_order(ShopCustomer *customer, double days, ShopOrder *order);

#endif
